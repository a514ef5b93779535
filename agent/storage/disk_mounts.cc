#include "agent/storage/disk_mounts.h"

#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "agent/sandbox/modules.h"
#include "agent/storage/disks.h"
#include "common/base/unique_fd.h"
#include "common/log/log.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

constexpr const char* kContainers = "/run/kata-containers";

/// Everything that was written to the file system is on its disk, even while somebody else has it
/// mounted for a moment longer: a container that is being made has a copy of every mount at first.
Status sync_file_system(const fs::path& mount_point) {
  UniqueFd directory(open(mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return fail_errno(fmt::format("open {}", mount_point.native()));
  if (syncfs(directory.get()) != 0) return fail_errno(fmt::format("sync {}", mount_point.native()));
  return {};
}

Status unmount_one(const fs::path& mount_point) {
  // What a full or broken disk did not take is lost, as it is with any file system that is
  // unmounted: the container is gone all the same.
  if (Status synced = sync_file_system(mount_point); !synced)
    log::error("a container's disk has not all that was written",
               {{"error", synced.error().message()}});
  Status unmounted = sys::unmount(mount_point);
  if (!unmounted && unmounted.error().code() != Code::kNotFound)
    unmounted = sys::unmount(mount_point, /*detach=*/true);
  return unmounted;
}

}  // namespace

DiskMounts::DiskMounts(const std::string& container_id)
    : directory_(fs::path(kContainers) / container_id) {}

Result<fs::path> DiskMounts::make_mount_point(const std::string& name) {
  std::error_code error;
  fs::create_directories(directory_ / name, error);
  if (error) return fail_errno("make " + (directory_ / name).native(), error.value());
  fs::permissions(kContainers, fs::perms::owner_all, error);
  if (error) return fail_errno(fmt::format("close {}", kContainers), error.value());
  return directory_ / name;
}

Result<fs::path> DiskMounts::mount_disk(const Disk& disk, const std::string& name) {
  auto mounted = [&]() -> Result<fs::path> {
    KATA_CHECK(sandbox::load_module_on_demand(disk.fs_type));
    KATA_TRY(const fs::path device, await_disk(disk.serial));
    sys::MountEntry entry;
    entry.type = disk.fs_type;
    entry.source = device;
    entry.options = disk.options;
    return mount(std::move(entry), name);
  }();
  if (!mounted) return std::unexpected(mounted.error().with_stage("disk " + disk.serial));
  return mounted;
}

Result<fs::path> DiskMounts::mount(sys::MountEntry entry, const std::string& name) {
  KATA_TRY(const fs::path point, make_mount_point(name));
  entry.target = point;
  KATA_CHECK(sys::mount(entry));
  mounted_.push_back(point);
  return point;
}

Status DiskMounts::unmount() {
  Status first_failure;
  while (!mounted_.empty()) {
    Status unmounted = unmount_one(mounted_.back());
    if (!unmounted && first_failure) first_failure = unmounted;
    mounted_.pop_back();
  }
  std::error_code error;
  // Empty directories only: nothing that is still mounted is touched.
  for (const auto& entry : fs::directory_iterator(directory_, error)) ::rmdir(entry.path().c_str());
  ::rmdir(directory_.c_str());
  return first_failure;
}

DiskMounts::~DiskMounts() {
  if (Status unmounted = unmount(); !unmounted)
    log::error("unmount a container's disks", {{"error", unmounted.error().message()}});
}

}  // namespace kata::storage
