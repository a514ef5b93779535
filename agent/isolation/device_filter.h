// Which devices a control group's processes may make and open: linux.resources.devices as an eBPF
// program (BPF_PROG_TYPE_CGROUP_DEVICE), since cgroup v2 has no files for it.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// What the rules come to, one after the other, as the device controller of cgroup v1 keeps them:
/// a default and the exceptions from it.
struct DeviceAccess {
  struct Exception {
    char type = 'c';                // 'c' or 'b'
    std::optional<uint32_t> major;  // nothing: all
    std::optional<uint32_t> minor;
    uint32_t access = 0;  // BPF_DEVCG_ACC_*
    bool operator==(const Exception&) const = default;
  };
  bool allowed = false;
  std::vector<Exception> exceptions;
};

/// The rules, and after them what runc lets every container do: make any node, and use null, zero,
/// full, random, urandom, tty, ptmx, terminals and tun. InvalidArgument: more than 4096 exceptions,
/// a number that no device has.
Result<DeviceAccess> device_access(const std::vector<oci::DeviceRule>& rules);

/// Of one group. Any thread.
class DeviceFilter {
 public:
  /// Limits the group from now on; a program that an earlier call has attached is replaced,
  /// atomically. FailedPrecondition: the kernel lacks CONFIG_CGROUP_BPF.
  Status apply(const DeviceAccess& access, int cgroup);

 private:
  std::mutex mutex_;
  UniqueFd program_;  // guarded by mutex_
};

}  // namespace kata::isolation
