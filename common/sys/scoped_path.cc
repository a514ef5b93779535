#include "common/sys/scoped_path.h"

#include <array>
#include <climits>
#include <deque>
#include <functional>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kata::sys {

namespace {

// The kernel's own limit (MAXSYMLINKS).
constexpr int kMaxLinks = 40;
// openat2 answers EAGAIN when a rename races with a resolution of ".."; the manual says to retry.
constexpr int kMaxRaces = 64;

int openat2_in_root(int root, const std::string& path, int flags, mode_t mode) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  // The kernel refuses a mode without a flag that makes something.
  how.mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0;; ++attempt) {
    long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
    if (fd >= 0 || attempt == kMaxRaces || (errno != EAGAIN && errno != EINTR))
      return static_cast<int>(fd);
  }
}

std::deque<std::string> split(std::string_view path) {
  std::deque<std::string> components;
  while (!path.empty()) {
    auto end = std::min(path.find('/'), path.size());
    if (auto component = path.substr(0, end); !component.empty() && component != ".")
      components.emplace_back(component);
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return components;
}

Result<std::string> read_link(int fd, std::string_view path) {
  std::array<char, PATH_MAX> buffer;
  ssize_t length = ::readlinkat(fd, "", buffer.data(), buffer.size());
  if (length < 0) return fail_errno(fmt::format("read link {}", path));
  return std::string(buffer.data(), static_cast<size_t>(length));
}

/// Makes one name below `parent`; an existing one is fine.
using Maker = std::function<int(int parent, const char* name)>;

/// Walks from the root, resolving links by itself because openat2 cannot follow one that dangles,
/// and makes what is missing: directories on the way, the last component by `make_last`. Each step
/// opens a path without links, below the root whatever has changed meanwhile.
class Walk {
 public:
  Walk(int root, std::string_view path, const Maker& make_last)
      : root_(root), path_(path), pending_(split(path)), make_last_(make_last) {}

  Result<UniqueFd> run() {
    KATA_TRY(auto current, reopen());
    while (!pending_.empty()) {
      std::string name = std::move(pending_.front());
      pending_.pop_front();
      if (name == "..") {
        // Lexical: resolved_ has no links. ".." of the root is the root.
        resolved_.resize(std::min(resolved_.rfind('/'), resolved_.size()));
        KATA_TRY(current, reopen());
        continue;
      }
      KATA_TRY(auto next, step(current.get(), name));
      if (!next) {
        KATA_TRY(next, reopen());
      }
      current = std::move(next);
    }
    return current;
  }

 private:
  Result<UniqueFd> reopen() { return open_in_root(root_, resolved_ + "/", O_PATH | O_DIRECTORY); }

  /// The opened component, or nothing if it was a link, whose target is pending now.
  Result<UniqueFd> step(int parent, const std::string& name) {
    std::string next_path = resolved_ + "/" + name;
    UniqueFd next(openat2_in_root(root_, next_path, O_PATH | O_NOFOLLOW, 0));
    if (!next && errno == ENOENT) {
      int made = pending_.empty() ? make_last_(parent, name.c_str())
                                  : ::mkdirat(parent, name.c_str(), kParentMode);
      if (made < 0 && errno != EEXIST) return fail_errno(fmt::format("create {}", next_path));
      next.reset(openat2_in_root(root_, next_path, O_PATH | O_NOFOLLOW, 0));
    }
    if (!next) return fail_errno(fmt::format("open {}", next_path));
    struct stat info;
    if (::fstat(next.get(), &info) < 0) return fail_errno(fmt::format("stat {}", next_path));
    if (S_ISLNK(info.st_mode)) {
      KATA_CHECK(follow(next.get(), next_path));
      return UniqueFd();
    }
    if (!pending_.empty() && !S_ISDIR(info.st_mode)) return fail_errno(next_path, ENOTDIR);
    resolved_ = std::move(next_path);
    return next;
  }

  Status follow(int link, const std::string& link_path) {
    // Asking the kernel first tells a magic link, which reads as text, too, from one that dangles.
    bool refused = openat2_probe(link_path) == ELOOP;
    if (refused || ++links_ > kMaxLinks)
      return fail_errno(fmt::format("resolve {} at {}", path_, link_path), ELOOP);
    KATA_TRY(auto target, read_link(link, link_path));
    if (target.starts_with('/')) resolved_.clear();
    auto components = split(target);
    pending_.insert(pending_.begin(), components.begin(), components.end());
    return {};
  }

  int openat2_probe(const std::string& path) {
    UniqueFd fd(openat2_in_root(root_, path, O_PATH, 0));
    return fd ? 0 : errno;
  }

  static constexpr mode_t kParentMode = 0755;

  int root_;
  std::string path_;
  std::deque<std::string> pending_;
  const Maker& make_last_;
  std::string resolved_;  // without links, from the root; empty is the root
  int links_ = 0;
};

}  // namespace

Result<UniqueFd> open_in_root(int root, std::string_view path, int flags, mode_t mode) {
  UniqueFd fd(openat2_in_root(root, std::string(path), flags, mode));
  if (!fd) return fail_errno(fmt::format("open {}", path));
  return fd;
}

Result<UniqueFd> make_dir_in_root(int root, std::string_view path, mode_t mode) {
  Maker make = [mode](int parent, const char* name) { return ::mkdirat(parent, name, mode); };
  KATA_TRY(auto dir, Walk(root, path, make).run());
  struct stat info;
  if (::fstat(dir.get(), &info) < 0) return fail_errno(fmt::format("stat {}", path));
  if (!S_ISDIR(info.st_mode)) return fail_errno(fmt::format("mkdir {}", path), ENOTDIR);
  return dir;
}

Result<UniqueFd> make_file_in_root(int root, std::string_view path, mode_t mode) {
  Maker make = [mode](int parent, const char* name) {
    UniqueFd file(::openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    return file ? 0 : -1;
  };
  KATA_TRY(auto file, Walk(root, path, make).run());
  struct stat info;
  if (::fstat(file.get(), &info) < 0) return fail_errno(fmt::format("stat {}", path));
  if (S_ISDIR(info.st_mode)) return fail_errno(fmt::format("create {}", path), EISDIR);
  return file;
}

Result<ParentAndName> make_parent_in_root(int root, std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  auto slash = path.rfind('/');
  std::string name(slash == std::string_view::npos ? path : path.substr(slash + 1));
  if (name.empty() || name == "." || name == "..")
    return fail(Code::kInvalidArgument, "path \"{}\" has no last component", path);
  std::string_view parent = slash == std::string_view::npos ? "" : path.substr(0, slash);
  KATA_TRY(auto dir, make_dir_in_root(root, parent));
  return ParentAndName{std::move(dir), std::move(name)};
}

}  // namespace kata::sys
