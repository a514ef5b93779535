// The disks of a pod's VM, and which root port they are in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "runtime/hypervisor/hypervisor.h"

namespace kata::sandbox {

/// An image file or a block device of the host.
struct DiskFile {
  std::filesystem::path file;
  bool read_only = false;
};

/// Disks that were attached together.
struct AttachedDisks {
  std::vector<uint32_t> ports;
  /// What the guest finds each by, in the order in which they were given.
  std::vector<std::string> serials;
};

/// Used on one executor. Calls may overlap: a port is taken before anything is awaited.
class Disks {
 public:
  /// The ports [first, end) are free. `vm` is borrowed and outlives this.
  Disks(hypervisor::Vm& vm, uint32_t first, uint32_t end);

  bool has_room_for(size_t disks) const;

  /// ResourceExhausted: there is no room. After an error nothing of them is in the VM.
  Async<AttachedDisks> attach(std::vector<DiskFile> disks);

  /// Completes when QEMU has closed their files. After an error their ports stay taken.
  Async<void> detach(AttachedDisks attached);

 private:
  hypervisor::Vm& vm_;
  std::set<uint32_t> free_ports_;
  uint64_t last_serial_ = 0;
};

}  // namespace kata::sandbox
