#include "agent/storage/fs_group.h"

#include <memory>
#include <string_view>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/unique_fd.h"

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

/// A child, or with an empty name the directory itself. Its mode comes last: chown(2) takes bits
/// of it away.
Status give(int directory, const char* name, const struct stat& info, FsGroup group) {
  if (fchownat(directory, name, static_cast<uid_t>(-1), group.id,
               AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(fmt::format("chown {}", name));
  if (S_ISLNK(info.st_mode)) return {};
  const mode_t wanted = info.st_mode | (S_ISDIR(info.st_mode) ? kOfDirectory : kOfFile);
  const int changed = *name == '\0'
                          ? fchmod(directory, wanted & ALLPERMS)
                          : fchmodat(directory, name, wanted & ALLPERMS, AT_SYMLINK_NOFOLLOW);
  if (changed != 0) return fail_errno(fmt::format("chmod {}", name));
  return {};
}

Status give_children(UniqueFd fd, FsGroup group, int depth);

Status give_tree(int parent, const char* name, FsGroup group, int depth) {
  struct stat info;
  if (fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? Status() : fail_errno(fmt::format("stat {}", name));
  if (S_ISDIR(info.st_mode)) {
    UniqueFd fd(openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return fail_errno(fmt::format("open {}", name));
    Status given = give_children(std::move(fd), group, depth + 1);
    if (!given) return std::unexpected(given.error().with_stage(name));
  }
  return give(parent, name, info, group);
}

Status give_children(UniqueFd fd, FsGroup group, int depth) {
  if (depth > kMaxDepth)
    return fail(Code::kResourceExhausted, "it is deeper than {} directories", kMaxDepth);
  Directory directory(fdopendir(fd.get()));
  if (!directory) return fail_errno("fdopendir");
  const int at = fd.release();
  while (true) {
    errno = 0;
    const dirent* entry = readdir(directory.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    KATA_CHECK(give_tree(at, entry->d_name, group, depth));
  }
  if (errno != 0) return fail_errno("readdir");
  return {};
}

}  // namespace

Status give_to_group(const std::filesystem::path& root, FsGroup group) {
  auto given = [&]() -> Status {
    UniqueFd fd(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return fail_errno("open");
    struct stat info;
    if (fstat(fd.get(), &info) != 0) return fail_errno("stat");
    if (group.only_on_root_mismatch && has_group(info, group)) return {};
    UniqueFd itself(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!itself) return fail_errno("dup");
    KATA_CHECK(give_children(std::move(fd), group, 1));
    // The root last: what is left half-done does not look done.
    return give(itself.get(), "", info, group);
  }();
  if (!given) return std::unexpected(given.error().with_stage(fmt::format("fsGroup {}", group.id)));
  return given;
}

}  // namespace kata::storage
