#include "runtime/storage/shared_binds.h"

#include <algorithm>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/agent_protocol.h"
#include "common/base/unique_fd.h"
#include "common/sys/mount.h"
#include "common/sys/mountinfo.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

/// Where mounts on a mount come from (mount_namespaces(7)).
std::string propagation_of(const std::vector<sys::MountInfo>& mounts, uint64_t id) {
  const auto found = std::ranges::find(mounts, id, &sys::MountInfo::id);
  return found == mounts.end() ? std::string() : found->propagation;
}

/// A directory that is mounted when somebody walks into it (autofs) is mounted, as by mount(2).
UniqueFd open_source(const fs::path& source) {
  UniqueFd directory(open(source.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (directory || errno != ENOTDIR) return directory;
  return UniqueFd(open(source.c_str(), O_PATH | O_CLOEXEC));
}

Status make_bind_target(const fs::path& target, bool directory) {
  if (directory) {
    if (mkdir(target.c_str(), 0755) == 0) return {};
  } else {
    UniqueFd file(open(target.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
    if (file) return {};
  }
  return fail_errno(fmt::format("create {}", target.native()));
}

Status clear_read_only(const fs::path& mount_point) {
  UniqueFd mount(open(mount_point.c_str(), O_PATH | O_CLOEXEC));
  if (!mount) return fail_errno(fmt::format("open {}", mount_point.native()));
  return sys::set_mount_attributes(mount.get(), 0, MOUNT_ATTR_RDONLY, /*recursive=*/false);
}

/// Runs on a thread that ends with it, because the thread goes to another namespace.
Status clear_read_only_in(int process, const fs::path& mount_point) {
  if (unshare(CLONE_FS) != 0) return fail_errno("unshare");
  if (setns(process, CLONE_NEWNS) != 0) return fail_errno("enter virtiofsd's mount namespace");
  return clear_read_only(mount_point);
}

}  // namespace

SharedBinds::SharedBinds(fs::path share_root, sys::ProcessIdentity server)
    : share_root_(std::move(share_root)), server_(server) {}

Result<std::string> SharedBinds::acquire(const fs::path& source, BindOptions options,
                                         const std::vector<sys::MountInfo>& mounts) {
  const auto stage = [&source] {
    return fmt::format("storage: bind mount of {}", source.native());
  };
  const UniqueFd fd = open_source(source);
  if (!fd) return fail_errno(stage());
  auto found = inspect(fd.get(), mounts);
  if (!found) return std::unexpected(found.error().with_stage(stage()));
  for (auto& [name, place] : places_) {
    if (!is_same(place, *found, options, mounts) || !is_alive(name, place)) continue;
    const bool source_is_writable = (found->mount_flags & ST_RDONLY) == 0;
    if (place.options.read_only && !options.read_only && source_is_writable) {
      if (auto writable = make_writable(name); !writable)
        return std::unexpected(writable.error().with_stage(stage()));
      // For good: the guest has had it in its hands.
      place.options.read_only = false;
    }
    ++place.users;
    return name;
  }
  auto bound = bind(fd.get(), *found, options);
  if (!bound) return std::unexpected(bound.error().with_stage(stage()));
  return bound;
}

Result<SharedBinds::Source> SharedBinds::inspect(int fd,
                                                 const std::vector<sys::MountInfo>& mounts) {
  struct statx info {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO | STATX_MNT_ID, &info) != 0)
    return fail_errno("statx");
  struct statvfs file_system {};
  if (fstatvfs(fd, &file_system) != 0) return fail_errno("statvfs");
  Source source;
  std::error_code error;
  source.path = fs::read_symlink(fmt::format("/proc/self/fd/{}", fd), error);
  if (error) return fail_errno("read the descriptor's link", error.value());
  source.device = makedev(info.stx_dev_major, info.stx_dev_minor);
  source.inode = info.stx_ino;
  source.mount = info.stx_mnt_id;
  source.mount_flags = file_system.f_flag;
  source.is_directory = S_ISDIR(info.stx_mode);
  if (source.is_directory)
    for (const sys::MountInfo* below :
         sys::mounts_below(mounts, source.mount, source.path.native()))
      source.mounts_below.push_back(below->id);
  return source;
}

/// Whether whoever binds `source` so would see what is at `place`. kubelet's binds for subPath are
/// mounts of their own for each container.
bool SharedBinds::is_same(const Place& place, const Source& source, const BindOptions& options,
                          const std::vector<sys::MountInfo>& mounts) {
  const Source& other = place.source;
  if (other.device != source.device || other.inode != source.inode ||
      other.mount_flags != source.mount_flags || place.options.follows_host != options.follows_host)
    return false;
  const bool is_bare = source.mounts_below.empty() && other.mounts_below.empty();
  if (other.mount != source.mount)
    return is_bare && propagation_of(mounts, source.mount) == propagation_of(mounts, other.mount);
  if (is_bare) return true;
  // A place that follows the host has got what has been mounted since then.
  return place.options.recursive == options.recursive &&
         (options.follows_host || !options.recursive || other.mounts_below == source.mounts_below);
}

/// A network file system may have given the number of a directory that was removed to a new one.
bool SharedBinds::is_alive(const std::string& name, const Place& place) const {
  struct stat info {};
  return stat((share_root_ / name).c_str(), &info) == 0 && info.st_ino == place.source.inode;
}

Result<std::string> SharedBinds::bind(int source_fd, const Source& source,
                                      const BindOptions& options) {
  KATA_TRY(const UniqueFd mount, sys::clone_mount(source_fd, options.recursive));
  // A mount that need not be in the container stays away from virtiofsd, too, which would keep the
  // host from unmounting it.
  const uint64_t propagation = options.follows_host ? MS_SLAVE : MS_PRIVATE;
  KATA_CHECK(sys::set_propagation(mount.get(), {.type = propagation, .recursive = true}));
  if (options.read_only)
    KATA_CHECK(sys::set_mount_attributes(mount.get(), MOUNT_ATTR_RDONLY, 0, /*recursive=*/false));
  // It stays, and no place comes twice: the guest remembers what was there for a while.
  const fs::path directory = share_root_ / kShareBinds;
  if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
    return fail_errno(fmt::format("create {}", directory.native()));
  std::string place = fmt::format("{}/{}", kShareBinds, next_++);
  const fs::path target = share_root_ / place;
  KATA_CHECK(make_bind_target(target, source.is_directory));
  places_[place] = {.source = source, .options = options, .users = 1};
  const UniqueFd target_fd(open(target.c_str(), O_PATH | O_CLOEXEC));
  const Status attached =
      target_fd ? sys::attach_mount(mount.get(), target_fd.get()) : fail_errno("open");
  if (attached) return place;
  (void)release(place);
  return std::unexpected(attached.error());
}

/// The flags of a mount are each namespace's own.
Status SharedBinds::make_writable(const std::string& place) const {
  KATA_CHECK(clear_read_only(share_root_ / place));
  if (server_.pid <= 0) return {};
  KATA_TRY(const UniqueFd process, sys::open_process(server_));
  Status cleared;
  std::thread([&] { cleared = clear_read_only_in(process.get(), fs::path("/") / place); }).join();
  return cleared;
}

Status SharedBinds::release(const std::string& place) {
  const auto found = places_.find(place);
  if (found == places_.end() || --found->second.users > 0) return {};
  places_.erase(found);
  // Detached, not just unmounted: virtiofsd holds descriptors of what the guest has cached, which
  // makes a plain umount answer EBUSY although nobody uses the files any more.
  const Status unmounted = sys::unmount_all_at(share_root_ / place, /*detach=*/true);
  std::error_code error;
  // Never remove_all: if something is still mounted its content is not ours to delete.
  fs::remove(share_root_ / place, error);
  return unmounted;
}

}  // namespace kata::storage
