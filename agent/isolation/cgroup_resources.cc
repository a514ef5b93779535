#include "agent/isolation/cgroup_resources.h"

#include <algorithm>
#include <string>

#include "agent/isolation/cgroup_file.h"
#include "agent/isolation/cgroup_limit.h"
#include "agent/isolation/cgroup_memory.h"

namespace kata::isolation {

namespace {

const std::string kDefaultPeriodUs = "100000";

/// v1's 2 to 262144 onto v2's 1 to 10000, as runc and systemd do.
uint64_t weight_of_shares(uint64_t shares) { return 1 + ((shares - 2) * 9999) / 262142; }

/// v1's 10 to 1000 onto v2's 1 to 10000, as runc does.
uint64_t io_weight(uint64_t weight) { return 1 + ((weight - 10) * 9999) / 990; }

Status apply_pids(int group, const oci::Resources& resources) {
  int64_t pids = resources.pids_limit.value_or(0);
  if (pids == 0) return {};
  return write_limit(group, {"pids", "pids.max", "pids.limit"}, amount(pids));
}

/// The weight for all devices, or ("8:0 100") for one.
Status write_io_weight(int group, const char* key, const std::string& prefix, uint64_t weight) {
  // The BFQ scheduler has a file of its own, in v1's numbers.
  constexpr const char* kFileOfBfq = "io.bfq.weight";
  auto status = write_cgroup_file(group, kFileOfBfq, prefix + fmt::to_string(weight));
  if (lacks_file(group, kFileOfBfq, status))
    status = write_cgroup_file(group, "io.weight", prefix + fmt::to_string(io_weight(weight)));
  if (lacks_file(group, "io.weight", status))
    return fail(Code::kFailedPrecondition,
                "{}: the guest's kernel has no weights of the io controller", spec_path(key));
  if (!status) return std::unexpected(status.error().with_stage(spec_path(key)));
  return {};
}

Status apply_throttles(int group, const std::vector<oci::ThrottleDevice>& devices, const char* word,
                       const char* key) {
  for (const auto& device : devices)
    KATA_CHECK(
        write_limit(group, {"io", "io.max", key},
                    fmt::format("{}:{} {}={}", device.major, device.minor, word, device.rate)));
  return {};
}

Status apply_io(int group, const oci::BlockIoResources& io) {
  if (uint64_t weight = io.weight.value_or(0); weight != 0)
    KATA_CHECK(write_io_weight(group, "blockIO.weight", "", weight));
  for (const auto& device : io.weight_device)
    if (uint64_t weight = device.weight.value_or(0); weight != 0)
      KATA_CHECK(write_io_weight(group, "blockIO.weightDevice",
                                 fmt::format("{}:{} ", device.major, device.minor), weight));
  KATA_CHECK(apply_throttles(group, io.throttle_read_bps, "rbps", "blockIO.throttleReadBpsDevice"));
  KATA_CHECK(
      apply_throttles(group, io.throttle_write_bps, "wbps", "blockIO.throttleWriteBpsDevice"));
  KATA_CHECK(
      apply_throttles(group, io.throttle_read_iops, "riops", "blockIO.throttleReadIOPSDevice"));
  return apply_throttles(group, io.throttle_write_iops, "wiops", "blockIO.throttleWriteIOPSDevice");
}

/// One file holds quota and period: what is not named stays.
Status apply_cpu_max(int group, const oci::CpuResources& cpu) {
  int64_t quota = cpu.quota_us.value_or(0);
  uint64_t period = cpu.period_us.value_or(0);
  if (quota == 0 && period == 0) return {};
  auto before = first_line(group, "cpu.max");
  auto space = std::min(before.find(' '), before.size());
  auto quota_text = before.empty() ? "max" : before.substr(0, space);
  auto period_text = space == before.size() ? kDefaultPeriodUs : before.substr(space + 1);
  if (quota != 0) quota_text = amount(quota > 0 ? quota : kUnlimited);
  if (period != 0) period_text = fmt::to_string(period);
  return write_limit(group, {"cpu", "cpu.max", "cpu.quota"}, quota_text + " " + period_text);
}

Status apply_cpu(int group, const oci::CpuResources& cpu) {
  // First: an idle group has no weight that could be set.
  if (cpu.idle)
    KATA_CHECK(write_limit(group, {"cpu", "cpu.idle", "cpu.idle"}, fmt::to_string(*cpu.idle)));
  if (uint64_t shares = cpu.shares.value_or(0); shares != 0)
    KATA_CHECK(write_limit(group, {"cpu", "cpu.weight", "cpu.shares"},
                           fmt::to_string(weight_of_shares(shares))));
  if (!cpu.burst_us) return apply_cpu_max(group, cpu);
  // A burst is at most the quota: whichever of the two falls has to fall first.
  auto write_burst = [&] {
    return write_limit(group, {"cpu", "cpu.max.burst", "cpu.burst"}, fmt::to_string(*cpu.burst_us));
  };
  auto early = write_burst();
  if (!early && (early.error().code() != Code::kInvalidArgument || !cpu.quota_us)) return early;
  KATA_CHECK(apply_cpu_max(group, cpu));
  return early ? Status{} : write_burst();
}

Status apply_cpuset(int group, const oci::CpuResources& cpu) {
  if (!cpu.cpus.empty())
    KATA_CHECK(write_limit(group, {"cpuset", "cpuset.cpus", "cpu.cpus"}, cpu.cpus));
  if (!cpu.mems.empty())
    KATA_CHECK(write_limit(group, {"cpuset", "cpuset.mems", "cpu.mems"}, cpu.mems));
  return {};
}

Status apply_hugepages(int group, const std::vector<oci::HugepageLimit>& limits) {
  for (const auto& limit : limits) {
    auto file = fmt::format("hugetlb.{}.max", limit.page_size);
    auto value = fmt::to_string(limit.limit);
    auto status = write_cgroup_file(group, file.c_str(), value);
    const bool lacks_size = lacks_file(group, file.c_str(), status);
    // A kubelet forbids every size that its host has. What the guest has not, nobody can use.
    if (lacks_size && limit.limit == 0) continue;
    if (lacks_size)
      return fail(Code::kFailedPrecondition,
                  "{}: the guest's kernel has no hugetlb controller for pages of {}",
                  spec_path("hugepageLimits"), limit.page_size);
    if (!status) return std::unexpected(status.error().with_stage(spec_path("hugepageLimits")));
    // Reservations, which fail at mmap(2) rather than kill at the first access.
    auto reserved = fmt::format("hugetlb.{}.rsvd.max", limit.page_size);
    status = write_cgroup_file(group, reserved.c_str(), value);
    if (!status && !lacks_file(group, reserved.c_str(), status))
      return std::unexpected(status.error().with_stage(spec_path("hugepageLimits")));
  }
  return {};
}

Status apply_rdma(int group, const std::map<std::string, oci::RdmaLimit>& limits) {
  for (const auto& [device, limit] : limits) {
    auto line = device;
    if (limit.hca_handles) line += fmt::format(" hca_handle={}", *limit.hca_handles);
    if (limit.hca_objects) line += fmt::format(" hca_object={}", *limit.hca_objects);
    KATA_CHECK(write_limit(group, {"rdma", "rdma.max", "rdma"}, line));
  }
  return {};
}

/// Why there is no such file, in runc's words.
Error no_such_unified(int group, const std::string& key, const Error& error) {
  auto dot = key.find('.');
  if (dot == std::string::npos)
    return Error(
        Code::kInvalidArgument,
        fmt::format("unified resource \"{}\" must be in the form CONTROLLER.PARAMETER", key));
  auto controller = key.substr(0, dot);
  if (controller != "cgroup" && !has_controller(group, controller))
    return Error(
        Code::kFailedPrecondition,
        fmt::format("unified resource \"{}\" can't be set: controller \"{}\" not available", key,
                    controller));
  return error.with_stage(fmt::format("unable to set unified resource \"{}\"", key));
}

Status apply_unified(int group, const std::map<std::string, std::string>& files) {
  for (const auto& [key, value] : files) {
    auto status = write_cgroup_file(group, key.c_str(), value);
    if (status) continue;
    auto error =
        status.error().code() == Code::kNotFound
            ? no_such_unified(group, key, status.error())
            : status.error().with_stage(fmt::format("unable to set unified resource \"{}\"", key));
    return std::unexpected(error.with_stage(spec_path("unified")));
  }
  return {};
}

}  // namespace

Status apply_resources(int group, const oci::Resources& resources) {
  KATA_CHECK(apply_pids(group, resources));
  KATA_CHECK(apply_memory(group, resources.memory));
  KATA_CHECK(apply_io(group, resources.block_io));
  KATA_CHECK(apply_cpu(group, resources.cpu));
  KATA_CHECK(apply_cpuset(group, resources.cpu));
  KATA_CHECK(apply_hugepages(group, resources.hugepage_limits));
  KATA_CHECK(apply_rdma(group, resources.rdma));
  // Last: it names what it wants in the kernel's own terms.
  return apply_unified(group, resources.unified);
}

}  // namespace kata::isolation
