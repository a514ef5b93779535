// A container's root made of disks of the VM.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "agent/storage/disk_mounts.h"
#include "common/error/error.h"

namespace kata::storage {

/// See RootDisks in proto/agent.proto.
struct RootDisks {
  std::vector<Disk> disks;  // topmost first
  std::string upper;
  std::string work;
};

/// Waits for the disks. Answers where the root is; it goes with `mounts`, as does what an error has
/// left there. InvalidArgument: no disk, or one of `upper` and `work` alone.
Result<std::filesystem::path> mount_root(const RootDisks& wanted, DiskMounts& mounts);

}  // namespace kata::storage
