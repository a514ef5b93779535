// How large a pod's VM has to be.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/error/error.h"
#include "common/oci/spec.h"
#include "runtime/config/config.h"

namespace kata::sandbox {

/// What containers may use: on top of default_memory, and in place of default_vcpus.
struct Demand {
  uint64_t memory_mib = 0;
  uint64_t cpu_millis = 0;  // thousandths of a processor

  bool operator==(const Demand&) const = default;
};

Demand operator+(const Demand& one, const Demand& other);
/// Of each the larger part.
Demand larger_of(const Demand& one, const Demand& other);

/// The limits of one container: of its specification, and of updates, which name what they change.
class ContainerLimits {
 public:
  void update(const oci::Resources& resources);
  /// No limit is no demand.
  Demand demand() const;
  /// The guest sets them aside when the container is made.
  bool has_hugepages() const;

 private:
  int64_t memory_bytes_ = 0;
  /// By the size of a page; the control group counts them apart from the rest.
  std::map<std::string, uint64_t> hugepage_bytes_;
  int64_t cpu_quota_us_ = 0;
  uint64_t cpu_period_us_ = 0;
};

/// What containerd's CRI says of all containers of a pod before there is any
/// (io.kubernetes.cri.sandbox-memory, -cpu-quota and -cpu-period). InvalidArgument names the
/// annotation.
Result<Demand> announced_demand(const std::map<std::string, std::string>& annotations);

struct VmSize {
  uint32_t vcpus = 1;
  uint64_t memory_mib = 0;

  bool operator==(const VmSize&) const = default;
};

/// The largest VM of a pod here: default_maxvcpus and default_maxmemory, or what the host has.
VmSize largest_vm(const config::Hypervisor& config, const VmSize& host);

/// The VM for a demand: no smaller than default_vcpus and default_memory, no larger than `largest`.
VmSize vm_size(const config::Hypervisor& config, const Demand& demand, const VmSize& largest);

/// What a guest that has booted with so much memory can take besides: its kernel describes each
/// page by 64 bytes, and does so in what it has booted with.
uint64_t most_hot_memory_mib(uint64_t booted_mib);

}  // namespace kata::sandbox
