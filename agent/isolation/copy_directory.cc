#include "agent/isolation/copy_directory.h"

#include <algorithm>
#include <array>
#include <climits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/base/cleanup.h"
#include "common/base/unique_fd.h"

namespace kata::isolation {

namespace {

constexpr mode_t kPermissionBits = 07777;
constexpr mode_t kWhileCopied = 0700;
constexpr size_t kCopyChunkBytes = size_t{16} << 20;

struct CloseDirectory {
  void operator()(DIR* stream) const { ::closedir(stream); }
};

/// A directory that is being copied.
struct Level {
  std::unique_ptr<DIR, CloseDirectory> from;
  UniqueFd to;
  struct stat info;
  size_t path_bytes;  // of the path, where this directory's ends
};

Status copy_attribute(int from, int to, const char* name, const std::string& path) {
  std::array<char, XATTR_SIZE_MAX> value;
  const ssize_t size = ::fgetxattr(from, name, value.data(), value.size());
  if (size < 0 && (errno == ENODATA || errno == ENOTSUP)) return {};
  if (size < 0) return fail_call(fmt::format("read attribute {} of {}", name, path));
  if (::fsetxattr(to, name, value.data(), static_cast<size_t>(size), 0) == 0) return {};
  // tmpfs takes no attributes of users before Linux 6.6, and who is root of a user namespace may
  // not set others.
  if (errno == ENOTSUP || errno == EPERM) return {};
  return fail_call(fmt::format("set attribute {} of {}", name, path));
}

Status copy_attributes(int from, int to, const std::string& path) {
  std::array<char, XATTR_LIST_MAX> names;
  const ssize_t size = ::flistxattr(from, names.data(), names.size());
  if (size < 0 && errno == ENOTSUP) return {};
  if (size < 0) return fail_call(fmt::format("list attributes of {}", path));
  const std::string_view all(names.data(), static_cast<size_t>(size));
  for (size_t at = 0; at < all.size(); at = all.find('\0', at) + 1)
    KATA_CHECK(copy_attribute(from, to, all.data() + at, path));
  return {};
}

/// Attributes last but times: a change of the owner takes capabilities and set-id bits away.
Status finish(int from, int to, const struct stat& info, const std::string& path) {
  if (::fchown(to, info.st_uid, info.st_gid) < 0) return fail_call(fmt::format("chown {}", path));
  if (::fchmod(to, info.st_mode & kPermissionBits) < 0)
    return fail_call(fmt::format("chmod {}", path));
  KATA_CHECK(copy_attributes(from, to, path));
  const std::array<timespec, 2> times = {info.st_atim, info.st_mtim};
  if (::futimens(to, times.data()) < 0) return fail_call(fmt::format("set times of {}", path));
  return {};
}

/// The data between `begin` and `end`, which has no holes.
Status copy_data(int from, int to, off_t begin, off_t end, const std::string& path) {
  if (::lseek(to, begin, SEEK_SET) < 0) return fail_call(fmt::format("seek in {}", path));
  while (begin < end) {
    const auto size = std::min(static_cast<size_t>(end - begin), kCopyChunkBytes);
    const ssize_t copied = ::sendfile(to, from, &begin, size);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0) return fail_call(fmt::format("copy {}", path));
    if (copied == 0) return {};  // it has become shorter
  }
  return {};
}

Status copy_content(int from, int to, off_t size, const std::string& path) {
  if (::ftruncate(to, size) < 0) return fail_call(fmt::format("copy {}", path));
  for (off_t at = 0; at < size;) {
    const off_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    if (data < 0) return copy_data(from, to, at, size, path);
    const off_t hole = ::lseek(from, data, SEEK_HOLE);
    if (hole < 0) return fail_call(fmt::format("copy {}", path));
    KATA_CHECK(copy_data(from, to, data, std::min(hole, size), path));
    at = hole;
  }
  return {};
}

class Copy {
 public:
  Copy(int to, std::string_view name) : top_(to), path_(name), top_path_bytes_(path_.size()) {}

  Status run(int from) {
    const mode_t before = ::umask(0);
    CleanupStack restore;
    restore.add([before] { ::umask(before); });
    KATA_CHECK(descend(from, ".", top_, "."));
    while (!levels_.empty()) {
      auto& level = levels_.back();
      path_.resize(level.path_bytes);
      errno = 0;
      const dirent* entry = ::readdir(level.from.get());
      if (!entry && errno != 0) return fail_call(fmt::format("read directory {}", path_));
      if (!entry) {
        KATA_CHECK(ascend());
        continue;
      }
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      path_ += "/" + name;
      KATA_CHECK(copy_entry(name.c_str()));
    }
    return {};
  }

 private:
  int from() const { return ::dirfd(levels_.back().from.get()); }
  int to() const { return levels_.back().to.get(); }

  Status copy_entry(const char* name) {
    struct stat info;
    if (::fstatat(from(), name, &info, AT_SYMLINK_NOFOLLOW) < 0) return failed("stat");
    if (S_ISDIR(info.st_mode)) {
      if (::mkdirat(to(), name, kWhileCopied) < 0) return failed("make directory");
      return descend(from(), name, to(), name);
    }
    KATA_TRY(bool linked, link_to_copy(name, info));
    if (linked) return {};
    if (S_ISREG(info.st_mode)) return copy_file(name);
    if (S_ISLNK(info.st_mode)) {
      KATA_CHECK(copy_link(name));
    } else if (::mknodat(to(), name, info.st_mode, info.st_rdev) < 0) {
      return failed("make node");
    }
    return finish_node(name, info);
  }

  Status descend(int from_parent, const char* from_name, int to_parent, const char* to_name) {
    if (levels_.size() == kMaxCopyDepth)
      return fail(Code::kInvalidArgument, "{}: directories nested deeper than {}", path_,
                  kMaxCopyDepth);
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    UniqueFd from(::openat(from_parent, from_name, kFlags));
    if (!from) return failed("open");
    UniqueFd to(::openat(to_parent, to_name, kFlags));
    if (!to) return failed("open the copy of");
    struct stat info;
    if (::fstat(from.get(), &info) < 0) return failed("stat");
    std::unique_ptr<DIR, CloseDirectory> stream(::fdopendir(from.get()));
    if (!stream) return failed("read directory");
    from.release();
    levels_.push_back({std::move(stream), std::move(to), info, path_.size()});
    return {};
  }

  Status ascend() {
    // Writing into it has changed its times.
    auto status = finish(from(), to(), levels_.back().info, path_);
    levels_.pop_back();
    return status;
  }

  Status copy_file(const char* name) {
    // Not what somebody may have put in its place: neither a link nor a FIFO that blocks.
    UniqueFd from(::openat(this->from(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!from) return failed("open");
    struct stat info;
    if (::fstat(from.get(), &info) < 0) return failed("stat");
    if (!S_ISREG(info.st_mode)) return fail_call(fmt::format("copy {}", path_), ESTALE);
    UniqueFd to(::openat(this->to(), name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kWhileCopied));
    if (!to) return failed("create");
    KATA_CHECK(copy_content(from.get(), to.get(), info.st_size, path_));
    return finish(from.get(), to.get(), info, path_);
  }

  Status copy_link(const char* name) {
    std::array<char, PATH_MAX> target;
    const ssize_t size = ::readlinkat(from(), name, target.data(), target.size() - 1);
    if (size < 0) return failed("read link");
    target[static_cast<size_t>(size)] = '\0';
    if (::symlinkat(target.data(), to(), name) < 0) return failed("make link");
    return {};
  }

  Status finish_node(const char* name, const struct stat& info) {
    if (::fchownat(to(), name, info.st_uid, info.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
      return failed("chown");
    const std::array<timespec, 2> times = {info.st_atim, info.st_mtim};
    if (::utimensat(to(), name, times.data(), AT_SYMLINK_NOFOLLOW) < 0)
      return failed("set times of");
    return {};
  }

  /// True if there was a copy of the same file already. The first is remembered.
  Result<bool> link_to_copy(const char* name, const struct stat& info) {
    if (info.st_nlink < 2) return false;
    const auto relative = path_.substr(top_path_bytes_ + 1);
    auto [copy, is_first] = linked_.try_emplace({info.st_dev, info.st_ino}, relative);
    if (is_first) {
      if (linked_.size() <= kMaxCopyLinked) return false;
      return fail(Code::kResourceExhausted, "{}: more than {} files of several names", path_,
                  kMaxCopyLinked);
    }
    // A path of directories that were made here: none of them is a link.
    if (::linkat(top_, copy->second.c_str(), to(), name, 0) < 0) return failed("link");
    return true;
  }

  std::unexpected<Error> failed(std::string_view what) {
    return fail_call(fmt::format("{} {}", what, path_));
  }

  int top_;
  std::string path_;  // of what is being copied
  size_t top_path_bytes_;
  std::vector<Level> levels_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;  // the path of the copy, below top_
};

}  // namespace

Status copy_directory(int from, int to, std::string_view name) {
  auto status = Copy(to, name).run(from);
  if (!status) return std::unexpected(status.error().with_stage("tmpcopyup"));
  return {};
}

}  // namespace kata::isolation
