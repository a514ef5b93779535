// Disks of the VM that stand for block devices of the host (proto/agent.proto, Volume).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/storage/disk_mounts.h"
#include "agent/storage/fs_group.h"
#include "common/error/error.h"
#include "common/oci/spec.h"
#include "common/storage/volume_mount.h"

namespace kata::storage {

/// Major and minor.
using DeviceNumber = std::pair<int64_t, int64_t>;

/// The guest's by the host's.
using DeviceNumbers = std::map<DeviceNumber, DeviceNumber>;

struct Volume {
  std::string serial;
  DeviceNumber on_host;  // 0:0: it has none there
  std::vector<VolumeMount> mounts;
};

/// Waits for the disks.
Result<DeviceNumbers> find_volumes(const std::vector<Volume>& volumes);

/// `spec_json`, of which `spec` was read, with the guest's numbers in linux.devices, and with binds
/// of what was mounted in `mounts` in the place of the volumes' mounts. InvalidArgument: a mount
/// that is not there.
Result<std::string> use_volumes(const oci::Spec& spec, const std::string& spec_json,
                                const std::vector<Volume>& volumes, const DeviceNumbers& numbers,
                                DiskMounts& mounts, GivenVolumes& given);

/// The guest's numbers in the rules for devices and the limits of block I/O. What a rule allows of
/// other block devices of the host is no more than to make their nodes: in the guest a number of
/// the host may be another container's disk.
void use_numbers(oci::Resources& resources, const DeviceNumbers& numbers);

}  // namespace kata::storage
