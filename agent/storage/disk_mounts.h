// What the guest mounts for one container: file systems on disks of the VM, and overlays of them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/error/error.h"
#include "common/sys/mount.h"

namespace kata::storage {

/// A file system on a disk.
struct Disk {
  std::string serial;
  std::string fs_type;
  std::vector<std::string> options;  // as mount(8) takes them
};

/// Mounts in the agent's mount namespace, below /run/kata-containers/<container id>, which is made
/// with the first one. One thread at a time. The destructor takes away what unmount() has not.
class DiskMounts {
 public:
  explicit DiskMounts(const std::string& container_id);
  DiskMounts(const DiskMounts&) = delete;
  DiskMounts& operator=(const DiskMounts&) = delete;
  ~DiskMounts();

  /// Waits for the disk; errors name it. `name` is that of the mount point.
  Result<std::filesystem::path> mount_disk(const Disk& disk, const std::string& name);
  /// Anything; the entry's target is not looked at.
  Result<std::filesystem::path> mount(sys::MountEntry entry, const std::string& name);

  /// In the opposite order. What was written is on the disks when this answers. Harmless when
  /// repeated.
  Status unmount();

 private:
  Result<std::filesystem::path> make_mount_point(const std::string& name);

  std::filesystem::path directory_;
  std::vector<std::filesystem::path> mounted_;  // in order
};

}  // namespace kata::storage
