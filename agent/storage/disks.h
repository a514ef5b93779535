// The disks of the VM, which come while it runs.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "common/error/error.h"

namespace kata::storage {

/// Where the kernel shows disks.
struct DiskPlaces {
  std::filesystem::path sysfs = "/sys/block";
  std::filesystem::path dev = "/dev";
};

/// The device of the virtio-blk disk with this serial number (VIRTIO 1.2, section 5.2.6), as soon
/// as the kernel has it. Any thread; waits for uevents. NotFound: it has not come within `limit`.
Result<std::filesystem::path> await_disk(const std::string& serial, std::chrono::seconds limit,
                                         const DiskPlaces& places);

/// One that the host has attached before it asked, in this kernel, whose driver is loaded first.
Result<std::filesystem::path> await_disk(const std::string& serial);

}  // namespace kata::storage
