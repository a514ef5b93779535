// Block devices of the host that a container is to have: Kubernetes' volumeDevices, `--device`, and
// file systems on devices among the mounts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::storage {

struct HostDisk {
  std::filesystem::path file;
  uint32_t major = 0;
  uint32_t minor = 0;
  bool read_only = false;
  std::vector<uint32_t> mounts;  // of the specification's, by index: those that are on it
};

/// Where the kernel shows devices.
struct HostPlaces {
  std::filesystem::path sysfs = "/sys/dev/block";
  std::filesystem::path dev = "/dev";
};

/// Those that a rule of linux.resources.devices names by their number: a privileged container has
/// nodes of all devices of the host, with one rule for everything, and they are not its own; and
/// those that a mount other than a bind has as its source. A number without a device is none, as
/// under runc. Read-only where nothing of it may write, or the device takes no writes. Blocking,
/// any thread.
Result<std::vector<HostDisk>> find_host_disks(const oci::Spec& spec, const HostPlaces& places = {});

}  // namespace kata::storage
