#include "agent/storage/disk_root.h"

#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "agent/sandbox/modules.h"
#include "agent/storage/disks.h"
#include "common/base/unique_fd.h"
#include "common/log/log.h"
#include "common/sys/mount.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

constexpr const char* kContainers = "/run/kata-containers";
/// The host has attached them before it asks; a busy guest needs some time to see them.
constexpr std::chrono::seconds kDiskLimit{20};

Status mount_disk(const Disk& disk, const fs::path& target) {
  KATA_CHECK(sandbox::load_module_on_demand(disk.fs_type));
  KATA_TRY(const fs::path device, await_disk(disk.serial, kDiskLimit));
  sys::MountEntry entry;
  entry.type = disk.fs_type;
  entry.source = device;
  entry.target = target;
  entry.options = disk.options;
  return sys::mount(entry);
}

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

Result<std::unique_ptr<DiskRoot>> DiskRoot::mount(const std::string& container_id,
                                                  const RootDisks& wanted) {
  if (wanted.disks.empty() || wanted.upper.empty() != wanted.work.empty())
    return fail(Code::kInvalidArgument,
                "a root of disks needs a disk, and both or none of upper and "
                "work directory");
  KATA_CHECK(sandbox::load_module_on_demand("virtio_blk"));
  std::unique_ptr<DiskRoot> self(new DiskRoot(fs::path(kContainers) / container_id));
  std::error_code error;
  fs::create_directories(self->directory_, error);
  if (error) return fail_errno("make " + self->directory_.native(), error.value());
  fs::permissions(kContainers, fs::perms::owner_all, error);
  if (error) return fail_errno(fmt::format("close {}", kContainers), error.value());
  KATA_CHECK(self->mount_disks(wanted.disks));
  if (wanted.disks.size() > 1 || !wanted.upper.empty()) KATA_CHECK(self->mount_overlay(wanted));
  self->root_ = self->mounted_.back();
  return self;
}

Result<fs::path> DiskRoot::make_mount_point(const std::string& name) {
  fs::path point = directory_ / name;
  std::error_code error;
  fs::create_directory(point, error);
  if (error) return fail_errno("make " + point.native(), error.value());
  return point;
}

Status DiskRoot::mount_disks(const std::vector<Disk>& disks) {
  for (size_t i = 0; i < disks.size(); ++i) {
    KATA_TRY(const fs::path point, make_mount_point(fmt::format("disk{}", i)));
    Status mounted = mount_disk(disks[i], point);
    if (!mounted) return std::unexpected(mounted.error().with_stage("disk " + disks[i].serial));
    mounted_.push_back(point);
  }
  return {};
}

Status DiskRoot::mount_overlay(const RootDisks& wanted) {
  KATA_CHECK(sandbox::load_module_on_demand("overlay"));
  std::string lower;
  for (const fs::path& disk : mounted_) lower += (lower.empty() ? "" : ":") + disk.native();
  if (wanted.upper.empty()) return mount_layer("root", lower, {"ro"});
  if (wanted.disks.size() > 1) {
    // The layers say by trusted attributes which directories hide those below them; in the share,
    // whose server may not set these, an overlay has to use the user's. One knows one kind only.
    KATA_CHECK(mount_layer("layers", lower, {"ro"}));
    lower = mounted_.back();
  }
  std::vector<std::string> options = {"upperdir=" + wanted.upper, "workdir=" + wanted.work,
                                      "userxattr"};
  return mount_layer("root", lower, std::move(options));
}

Status DiskRoot::mount_layer(const std::string& name, const std::string& lower,
                             std::vector<std::string> options) {
  KATA_TRY(const fs::path point, make_mount_point(name));
  sys::MountEntry entry;
  entry.type = entry.source = "overlay";
  entry.target = point;
  entry.options = std::move(options);
  entry.options.push_back("lowerdir=" + lower);
  KATA_CHECK(sys::mount(entry));
  mounted_.push_back(point);
  return {};
}

Status DiskRoot::unmount() {
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

DiskRoot::~DiskRoot() {
  if (Status unmounted = unmount(); !unmounted)
    log::error("unmount a container's disks", {{"error", unmounted.error().message()}});
}

}  // namespace kata::storage
