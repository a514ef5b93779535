// Block devices of the host that a container is to have: Kubernetes' volumeDevices, `--device`,
// file systems on devices among the mounts, and direct-assigned volumes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <sys/types.h>

#include "common/error/error.h"
#include "common/oci/spec.h"
#include "common/storage/volume_mount.h"
#include "runtime/storage/direct_volumes.h"

namespace kata::storage {

/// What an image file is, whatever its path: of stat(2).
struct ImageId {
  dev_t device = 0;
  ino_t inode = 0;

  auto operator<=>(const ImageId&) const = default;
};

struct HostDisk {
  std::filesystem::path file;
  uint32_t major = 0;  // 0: an image file, which has no numbers
  uint32_t minor = 0;
  ImageId image;
  bool read_only = false;
  std::vector<VolumeMount> mounts;
};

/// Where the kernel shows devices.
struct HostPlaces {
  std::filesystem::path sysfs = "/sys/dev/block";
  std::filesystem::path dev = "/dev";
  std::filesystem::path direct_volumes = kDirectVolumes;
};

/// Those that a rule of linux.resources.devices names by their number: a privileged container has
/// nodes of all devices of the host, with one rule for everything, and they are not its own; and
/// those that a mount other than a bind has as its source; and those that stand for the source of a
/// bind, a direct-assigned volume. A number without a device is none, as
/// under runc. Read-only where nothing of it may write, or the device takes no writes. Blocking,
/// any thread.
Result<std::vector<HostDisk>> find_host_disks(const oci::Spec& spec, const HostPlaces& places = {});

}  // namespace kata::storage
