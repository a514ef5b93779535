#include "agent/storage/fs_group.h"

#include <memory>
#include <string>
#include <string_view>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/unique_fd.h"
#include "common/log/log.h"

namespace kata::storage {
namespace {

constexpr mode_t kOfFile = S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP;
constexpr mode_t kOfDirectory = kOfFile | S_IXUSR | S_IXGRP | S_ISGID;
/// Each holds a descriptor while what is below it gets its turn.
constexpr int kMaxDepth = 256;

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

bool has_group(const struct stat& info, FsGroup group) {
  return info.st_gid == group.id && (info.st_mode & kOfDirectory) == kOfDirectory;
}

/// What `fd` (O_PATH) refers to, and nothing that comes to its name meanwhile. Its mode comes last:
/// chown(2) takes bits of it away.
Status give(int fd, const struct stat& info, FsGroup group) {
  if (fchownat(fd, "", static_cast<uid_t>(-1), group.id, AT_EMPTY_PATH) != 0)
    return fail_errno("chown");
  if (S_ISLNK(info.st_mode)) return {};
  const mode_t wanted = info.st_mode | (S_ISDIR(info.st_mode) ? kOfDirectory : kOfFile);
  // fchmod(2) takes no O_PATH.
  if (chmod(fmt::format("/proc/self/fd/{}", fd).c_str(), wanted & ALLPERMS) != 0)
    return fail_errno("chmod");
  return {};
}

/// Everything below a directory. What cannot be given stays as it is, as with kubelet: a file that
/// is immutable or damaged is no reason to keep a pod from its volume.
class Tree {
 public:
  explicit Tree(FsGroup group) : group_(group) {}

  /// `directory`: O_PATH will do.
  Status give_children(int directory, int depth) {
    if (depth > kMaxDepth)
      return fail(Code::kResourceExhausted, "it is deeper than {} directories", kMaxDepth);
    UniqueFd fd(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return fail_errno("open");
    const Directory entries(fdopendir(fd.get()));
    if (!entries) return fail_errno("fdopendir");
    const int at = fd.release();
    while (true) {
      errno = 0;
      const dirent* entry = readdir(entries.get());
      if (entry == nullptr) break;
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (Status given = give_entry(at, entry->d_name, depth); !given)
        note(given.error().with_stage(name));
    }
    return errno == 0 ? Status() : fail_errno("readdir");
  }

  void log_failures() const {
    if (failures_ == 0) return;
    log::warning("files of a volume keep their group", {{"fsGroup", fmt::to_string(group_.id)},
                                                        {"files", fmt::to_string(failures_)},
                                                        {"first", first_failure_}});
  }

 private:
  Status give_entry(int parent, const char* name, int depth) {
    const UniqueFd fd(openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    // Whoever uses the volume already may remove files.
    if (!fd) return errno == ENOENT ? Status() : fail_errno("open");
    struct stat info;
    if (fstat(fd.get(), &info) != 0) return fail_errno("stat");
    if (S_ISDIR(info.st_mode))
      if (Status below = give_children(fd.get(), depth + 1); !below) note(below.error());
    return give(fd.get(), info, group_);
  }

  void note(const Error& error) {
    if (failures_++ == 0) first_failure_ = error.message();
  }

  const FsGroup group_;
  uint64_t failures_ = 0;
  std::string first_failure_;
};

}  // namespace

Status give_to_group(const std::filesystem::path& root, FsGroup group) {
  auto given = [&]() -> Status {
    const UniqueFd fd(open(root.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return fail_errno("open");
    struct statvfs file_system {};
    if (fstatvfs(fd.get(), &file_system) != 0) return fail_errno("statvfs");
    if ((file_system.f_flag & ST_RDONLY) != 0) return {};
    struct stat info;
    if (fstat(fd.get(), &info) != 0) return fail_errno("stat");
    if (group.only_on_root_mismatch && has_group(info, group)) return {};
    Tree tree(group);
    Status children = tree.give_children(fd.get(), 1);
    tree.log_failures();
    KATA_CHECK(children);
    // The root last: what is left half-done does not look done.
    return give(fd.get(), info, group);
  }();
  if (!given) return std::unexpected(given.error().with_stage(fmt::format("fsGroup {}", group.id)));
  return given;
}

Status GivenVolumes::give_once(const std::string& serial, const std::filesystem::path& root,
                               FsGroup group) {
  const std::lock_guard lock(mutex_);
  if (given_.contains(serial)) return {};
  KATA_CHECK(give_to_group(root, group));
  given_.insert(serial);
  return {};
}

}  // namespace kata::storage
