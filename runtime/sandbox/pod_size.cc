#include "runtime/sandbox/pod_size.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "runtime/hypervisor/hypervisor.h"

namespace kata::sandbox {
namespace {

constexpr uint64_t kBytesPerMib = 1024 * 1024;
constexpr uint64_t kMillis = 1000;
/// What a quota without a period is of (cgroup v2, cpu.max).
constexpr uint64_t kDefaultPeriodUs = 100'000;
/// More than any machine has: keeps the sums of a pod's containers within their type.
constexpr uint64_t kMostCpuMillis = uint64_t{1} << 32;
constexpr uint64_t kMostHugepageMib = uint64_t{1} << 32;
/// A quarter of what a guest has booted with may go into its map of the rest.
constexpr uint64_t kHotMemoryPerBooted = 16;

/// CRI's names are of containerd 1.6 and newer.
constexpr const char* kSandboxMemory = "io.kubernetes.cri.sandbox-memory";
constexpr const char* kSandboxQuota = "io.kubernetes.cri.sandbox-cpu-quota";
constexpr const char* kSandboxPeriod = "io.kubernetes.cri.sandbox-cpu-period";

Result<int64_t> number_in(const std::map<std::string, std::string>& annotations, const char* name) {
  const auto found = annotations.find(name);
  if (found == annotations.end()) return 0;
  const std::string& text = found->second;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    return fail(Code::kInvalidArgument, "annotation {}: {:?} is no whole number", name,
                text.substr(0, 64));
  return number;
}

uint64_t rounded_up(uint64_t value, uint64_t unit) {
  return value / unit + (value % unit == 0 ? 0 : 1);
}

}  // namespace

Demand operator+(const Demand& one, const Demand& other) {
  return {one.memory_mib + other.memory_mib, one.cpu_millis + other.cpu_millis};
}

Demand larger_of(const Demand& one, const Demand& other) {
  return {std::max(one.memory_mib, other.memory_mib), std::max(one.cpu_millis, other.cpu_millis)};
}

void ContainerLimits::update(const oci::Resources& resources) {
  // 0 leaves things as they are, as in the control group.
  const auto take = [](auto& value, const auto& named) {
    if (named.value_or(0) != 0) value = *named;
  };
  take(memory_bytes_, resources.memory.limit);
  take(cpu_quota_us_, resources.cpu.quota_us);
  take(cpu_period_us_, resources.cpu.period_us);
  for (const oci::HugepageLimit& named : resources.hugepage_limits)
    hugepage_bytes_[named.page_size] = named.limit;
}

bool ContainerLimits::has_hugepages() const {
  return std::ranges::any_of(hugepage_bytes_, [](const auto& limit) { return limit.second > 0; });
}

Demand ContainerLimits::demand() const {
  Demand demand;
  if (memory_bytes_ > 0)
    demand.memory_mib = rounded_up(static_cast<uint64_t>(memory_bytes_), kBytesPerMib);
  for (const auto& [page_size, bytes] : hugepage_bytes_)
    demand.memory_mib += std::min(rounded_up(bytes, kBytesPerMib), kMostHugepageMib);
  if (cpu_quota_us_ > 0) {
    const uint64_t period = cpu_period_us_ > 0 ? cpu_period_us_ : kDefaultPeriodUs;
    const auto quota = static_cast<uint64_t>(cpu_quota_us_);
    demand.cpu_millis = quota > std::numeric_limits<uint64_t>::max() / kMillis
                            ? kMostCpuMillis
                            : std::min(rounded_up(quota * kMillis, period), kMostCpuMillis);
  }
  return demand;
}

Result<Demand> announced_demand(const std::map<std::string, std::string>& annotations) {
  oci::Resources resources;
  KATA_TRY(resources.memory.limit, number_in(annotations, kSandboxMemory));
  KATA_TRY(resources.cpu.quota_us, number_in(annotations, kSandboxQuota));
  KATA_TRY(const int64_t period, number_in(annotations, kSandboxPeriod));
  resources.cpu.period_us = static_cast<uint64_t>(std::max<int64_t>(period, 0));
  ContainerLimits limits;
  limits.update(resources);
  return limits.demand();
}

VmSize largest_vm(const config::Hypervisor& config, const VmSize& host) {
  const uint32_t vcpus = config.default_maxvcpus > 0 ? config.default_maxvcpus : host.vcpus;
  const uint64_t memory =
      config.default_maxmemory_mib > 0 ? config.default_maxmemory_mib : host.memory_mib;
  return {.vcpus = std::max(vcpus, config.default_vcpus),
          .memory_mib =
              std::max(memory / hypervisor::kHotMemoryBlockMib * hypervisor::kHotMemoryBlockMib,
                       config.default_memory_mib)};
}

VmSize vm_size(const config::Hypervisor& config, const Demand& demand, const VmSize& largest) {
  const uint64_t vcpus = rounded_up(demand.cpu_millis, kMillis);
  const uint64_t memory = rounded_up(demand.memory_mib, hypervisor::kHotMemoryBlockMib) *
                          hypervisor::kHotMemoryBlockMib;
  return {.vcpus = static_cast<uint32_t>(
              std::clamp<uint64_t>(vcpus, config.default_vcpus, largest.vcpus)),
          .memory_mib = std::min(config.default_memory_mib + memory, largest.memory_mib)};
}

uint64_t most_hot_memory_mib(uint64_t booted_mib) { return booted_mib * kHotMemoryPerBooted; }

}  // namespace kata::sandbox
