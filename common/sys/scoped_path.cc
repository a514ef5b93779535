#include "common/sys/scoped_path.h"

#include <array>
#include <climits>
#include <deque>
#include <functional>
#include <utility>

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

int openat2_scoped(int directory, const std::string& path, int flags, mode_t mode, uint64_t scope) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  // The kernel refuses a mode without a flag that makes something.
  how.mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = scope | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0;; ++attempt) {
    long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
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
/// opens one name, no link and not "..", in the directory that the step before has opened: what it
/// reaches lies below the root whatever has changed meanwhile, and a path takes as many steps as it
/// has components, its links' included. On a shared file system each may ask the host.
class Walk {
 public:
  Walk(int root, std::string_view path, const Maker& make_last)
      : root_(root), path_(path), pending_(split(path)), make_last_(make_last) {}

  Result<UniqueFd> run() {
    // As the kernel says of a path that it is given in one piece.
    if (path_.size() >= PATH_MAX) return fail_errno("make a path", ENAMETOOLONG);
    KATA_TRY(current_, open_root());
    while (!pending_.empty()) {
      std::string name = std::move(pending_.front());
      pending_.pop_front();
      if (name == "..") {
        KATA_CHECK(go_up());
      } else {
        KATA_CHECK(step(name));
      }
    }
    return std::move(current_);
  }

 private:
  // Enough for every path that is not made to be odd.
  static constexpr size_t kMaxParents = 128;
  static constexpr mode_t kParentMode = 0755;

  Result<UniqueFd> open_root() { return open_in_root(root_, "/", O_PATH | O_DIRECTORY); }

  std::string shown(const std::string& name) const {
    std::string text;
    for (const auto& component : resolved_) text += "/" + component;
    return text + "/" + name;
  }

  /// Never by "..", which is elsewhere if somebody has moved the directory. ".." of the root is the
  /// root.
  Status go_up() {
    if (resolved_.empty()) return {};
    resolved_.pop_back();
    if (!parents_.empty()) {
      current_ = std::move(parents_.back());
      parents_.pop_back();
      return {};
    }
    KATA_TRY(current_, open_root());
    for (const auto& component : resolved_) {
      KATA_TRY(current_, open_child(component, O_PATH | O_DIRECTORY));
    }
    return {};
  }

  int try_open_child(const std::string& name, int flags) const {
    return openat2_scoped(current_.get(), name, flags | O_NOFOLLOW, 0, RESOLVE_BENEATH);
  }

  Result<UniqueFd> open_child(const std::string& name, int flags) const {
    UniqueFd child(try_open_child(name, flags));
    if (!child) return fail_errno(fmt::format("open {}", shown(name)));
    return child;
  }

  /// Into the component, or, if it is a link, nowhere: its target is pending then.
  Status step(const std::string& name) {
    UniqueFd next(try_open_child(name, O_PATH));
    if (!next && errno == ENOENT) {
      int made = pending_.empty() ? make_last_(current_.get(), name.c_str())
                                  : ::mkdirat(current_.get(), name.c_str(), kParentMode);
      if (made < 0 && errno != EEXIST) return fail_errno(fmt::format("create {}", shown(name)));
      next.reset(try_open_child(name, O_PATH));
    }
    if (!next) return fail_errno(fmt::format("open {}", shown(name)));
    struct stat info;
    if (::fstat(next.get(), &info) < 0) return fail_errno(fmt::format("stat {}", shown(name)));
    if (S_ISLNK(info.st_mode)) return follow(next.get(), name);
    if (!pending_.empty() && !S_ISDIR(info.st_mode)) return fail_errno(shown(name), ENOTDIR);
    parents_.push_back(std::exchange(current_, std::move(next)));
    if (parents_.size() > kMaxParents) parents_.pop_front();
    resolved_.push_back(name);
    return {};
  }

  Status follow(int link, const std::string& name) {
    if (is_magic_or_loop(name) || ++links_ > kMaxLinks)
      return fail_errno(fmt::format("resolve {} at {}", path_, shown(name)), ELOOP);
    KATA_TRY(auto target, read_link(link, shown(name)));
    if (target.starts_with('/')) {
      resolved_.clear();
      parents_.clear();
      KATA_TRY(current_, open_root());
    }
    auto components = split(target);
    pending_.insert(pending_.begin(), components.begin(), components.end());
    return {};
  }

  /// Asking the kernel tells a magic link, which reads as text, too, from one that dangles. It
  /// gives up where an ordinary link leaves the directory.
  bool is_magic_or_loop(const std::string& name) const {
    UniqueFd fd(openat2_scoped(current_.get(), name, O_PATH, 0, RESOLVE_BENEATH));
    return !fd && errno == ELOOP;
  }

  int root_;
  std::string path_;
  std::deque<std::string> pending_;
  const Maker& make_last_;
  UniqueFd current_;
  std::deque<std::string> resolved_;  // names without links from the root to current_
  std::deque<UniqueFd> parents_;      // of current_, as many as are kept; the nearest one last
  int links_ = 0;
};

}  // namespace

Result<UniqueFd> open_in_root(int root, std::string_view path, int flags, mode_t mode) {
  UniqueFd fd(openat2_scoped(root, std::string(path), flags, mode, RESOLVE_IN_ROOT));
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
