#include "runtime/sandbox/pod_size.h"

#include <catch2/catch.hpp>

namespace kata::sandbox {
namespace {

constexpr VmSize kHost{.vcpus = 8, .memory_mib = 16384};

oci::Resources limits(int64_t memory_bytes, int64_t quota_us, uint64_t period_us) {
  oci::Resources resources;
  resources.memory.limit = memory_bytes;
  resources.cpu.quota_us = quota_us;
  resources.cpu.period_us = period_us;
  return resources;
}

TEST_CASE("a container's limits are its demand, and an update changes what it names") {
  ContainerLimits container;
  CHECK(container.demand() == Demand{});
  container.update(limits(int64_t{512} << 20, 150000, 100000));
  CHECK(container.demand() == Demand{512, 1500});

  oci::Resources more_memory;
  more_memory.memory.limit = (int64_t{2} << 30) + 1;
  container.update(more_memory);
  CHECK(container.demand() == Demand{2049, 1500});

  container.update(limits(-1, -1, 100000));
  CHECK(container.demand() == Demand{});
}

TEST_CASE("huge pages are memory besides") {
  ContainerLimits container;
  oci::Resources resources;
  resources.memory.limit = int64_t{512} << 20;
  resources.hugepage_limits = {{"2MB", uint64_t{64} << 20}, {"1GB", 0}};
  container.update(resources);
  CHECK(container.demand().memory_mib == 576);
  CHECK(container.has_hugepages());

  oci::Resources none;
  none.hugepage_limits = {{"2MB", 0}};
  container.update(none);
  CHECK(container.demand().memory_mib == 512);
  CHECK_FALSE(container.has_hugepages());
}

TEST_CASE("a quota without a period is of the kernel's") {
  oci::Resources quota;
  quota.cpu.quota_us = 400000;
  ContainerLimits container;
  container.update(quota);
  CHECK(container.demand().cpu_millis == 4000);
}

TEST_CASE("limits of any size are a demand") {
  ContainerLimits container;
  oci::Resources largest = limits(INT64_MAX, INT64_MAX, 1);
  largest.hugepage_limits = {{"2MB", UINT64_MAX}, {"1GB", UINT64_MAX}};
  container.update(largest);
  const Demand demand = container.demand() + container.demand();
  const VmSize size = vm_size({}, demand, largest_vm({}, kHost));
  CHECK(size == VmSize{8, 16384});
}

TEST_CASE("CRI announces what a pod may use") {
  std::map<std::string, std::string> annotations;
  CHECK(announced_demand(annotations).value() == Demand{});
  annotations = {{"io.kubernetes.cri.sandbox-memory", "536870912"},
                 {"io.kubernetes.cri.sandbox-cpu-quota", "250000"},
                 {"io.kubernetes.cri.sandbox-cpu-period", "100000"}};
  CHECK(announced_demand(annotations).value() == Demand{512, 2500});

  for (const char* bad : {"", "1G", " 1", "99999999999999999999", "0x10"}) {
    annotations["io.kubernetes.cri.sandbox-memory"] = bad;
    auto refused = announced_demand(annotations);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code() == Code::kInvalidArgument);
    CHECK(refused.error().message().find("io.kubernetes.cri.sandbox-memory") != std::string::npos);
  }
}

TEST_CASE("memory comes on top of the default, processors in its place") {
  config::Hypervisor config;
  config.default_vcpus = 2;
  const VmSize largest = largest_vm(config, kHost);
  CHECK(vm_size(config, {}, largest) == VmSize{2, 256});
  CHECK(vm_size(config, {512, 1500}, largest) == VmSize{2, 768});
  CHECK(vm_size(config, {511, 2001}, largest) == VmSize{3, 768});
  CHECK(vm_size(config, {100000, 100000}, largest) == VmSize{8, 16384});

  config.default_maxvcpus = 4;
  config.default_maxmemory_mib = 1024;
  CHECK(vm_size(config, {100000, 100000}, largest_vm(config, kHost)) == VmSize{4, 1024});
  config.default_maxvcpus = 1;
  config.default_maxmemory_mib = 128;
  CHECK(vm_size(config, {512, 4000}, largest_vm(config, kHost)) == VmSize{2, 256});
}

}  // namespace
}  // namespace kata::sandbox
