#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>

#include "common/oci/readers.h"

namespace kata::oci {

namespace {

constexpr std::array<std::string_view, 4> kRuleTypes = {"", "a", "b", "c"};
constexpr uint64_t kMinShares = 2;
constexpr uint64_t kMaxShares = 262144;
constexpr uint16_t kMinIoWeight = 10;
constexpr uint16_t kMaxIoWeight = 1000;

/// The files of a group that say which processes live in it. A process that they would move is of
/// the guest, not of the container.
constexpr std::array<std::string_view, 2> kMembership = {"cgroup.procs", "cgroup.threads"};

/// As the kernel names the controller's files: "2MB", "1GB".
bool is_page_size(std::string_view text) {
  auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
  auto unit = text.substr(digits);
  return digits > 0 && text.front() != '0' && (unit == "KB" || unit == "MB" || unit == "GB");
}

int bits_of_unit(char first) {
  if (first == 'K') return 10;
  return first == 'M' ? 20 : 30;
}

bool has_space(std::string_view text) {
  return std::ranges::any_of(text, [](unsigned char c) { return std::isspace(c) != 0; });
}

}  // namespace

uint64_t HugepageLimit::page_bytes() const {
  uint64_t number = 0;
  const char* const end = page_size.data() + page_size.size();
  const auto [unit, error] = std::from_chars(page_size.data(), end, number);
  if (error != std::errc() || unit == end) return 0;
  const int bits = bits_of_unit(*unit);
  return number > std::numeric_limits<uint64_t>::max() >> bits ? 0 : number << bits;
}

static void read(JsonReader& in, DeviceRule& out) {
  in.required("allow", out.allow);
  in.optional_enum("type", out.type, kRuleTypes);
  in.optional("major", out.major);
  in.optional("minor", out.minor);
  in.optional("access", out.access);
  if (out.access.find_first_not_of("rwm") != std::string::npos)
    in.fail_at("access", "{} holds more than r, w and m", quote(out.access));
}

static void read(JsonReader& in, MemoryResources& out) {
  in.optional("limit", out.limit);
  in.optional("reservation", out.reservation);
  in.optional("swap", out.swap);
  in.optional("kernel", out.kernel);
  in.optional("kernelTCP", out.kernel_tcp);
  in.optional("swappiness", out.swappiness);
  in.optional("disableOOMKiller", out.disable_oom_killer);
  in.optional("useHierarchy", out.use_hierarchy);
  in.optional("checkBeforeUpdate", out.check_before_update);
  if (out.disable_oom_killer.value_or(false))
    in.fail_at("disableOOMKiller", "the OOM killer cannot be disabled on cgroup v2");
}

static void read(JsonReader& in, CpuResources& out) {
  in.optional("shares", out.shares);
  in.optional("quota", out.quota_us);
  in.optional("burst", out.burst_us);
  in.optional("period", out.period_us);
  in.optional("realtimeRuntime", out.realtime_runtime_us);
  in.optional("realtimePeriod", out.realtime_period_us);
  in.optional("cpus", out.cpus);
  in.optional("mems", out.mems);
  in.optional("idle", out.idle);
  // The kernel's v1 controller clamps these; the conversion to a v2 weight would wrap instead.
  if (out.shares && *out.shares != 0) out.shares = std::clamp(*out.shares, kMinShares, kMaxShares);
  constexpr const char* kNoRealTime = "cgroup v2 has no limits for real-time scheduling";
  if (out.realtime_runtime_us.value_or(0) != 0) in.fail_at("realtimeRuntime", "{}", kNoRealTime);
  if (out.realtime_period_us.value_or(0) != 0) in.fail_at("realtimePeriod", "{}", kNoRealTime);
}

/// 0 is no weight, as in runc.
static void check_weight(JsonReader& in, std::optional<uint16_t> weight) {
  if (weight.value_or(0) != 0 && (*weight < kMinIoWeight || *weight > kMaxIoWeight))
    in.fail_at("weight", "{} is not within {} and {}", *weight, kMinIoWeight, kMaxIoWeight);
}

static void check_leaf_weight(JsonReader& in, std::optional<uint16_t> weight) {
  if (weight.value_or(0) != 0) in.fail_at("leafWeight", "cgroup v2 has no weight of the leaf");
}

static void read(JsonReader& in, WeightDevice& out) {
  in.required("major", out.major);
  in.required("minor", out.minor);
  in.optional("weight", out.weight);
  in.optional("leafWeight", out.leaf_weight);
  check_weight(in, out.weight);
  check_leaf_weight(in, out.leaf_weight);
}

static void read(JsonReader& in, ThrottleDevice& out) {
  in.required("major", out.major);
  in.required("minor", out.minor);
  in.optional("rate", out.rate);
}

static void read(JsonReader& in, BlockIoResources& out) {
  in.optional("weight", out.weight);
  in.optional("leafWeight", out.leaf_weight);
  in.optional("weightDevice", out.weight_device);
  in.optional("throttleReadBpsDevice", out.throttle_read_bps);
  in.optional("throttleWriteBpsDevice", out.throttle_write_bps);
  in.optional("throttleReadIOPSDevice", out.throttle_read_iops);
  in.optional("throttleWriteIOPSDevice", out.throttle_write_iops);
  check_weight(in, out.weight);
  check_leaf_weight(in, out.leaf_weight);
}

static void read(JsonReader& in, HugepageLimit& out) {
  in.required("pageSize", out.page_size);
  in.required("limit", out.limit);
  if (!in.failed() && !is_page_size(out.page_size))
    in.fail_at("pageSize", "{} is no size as \"2MB\" is", quote(out.page_size));
}

static void read(JsonReader& in, InterfacePriority& out) {
  in.required("name", out.name);
  in.required("priority", out.priority);
}

static void read(JsonReader& in, NetworkResources& out) {
  in.optional("classID", out.class_id);
  in.optional("priorities", out.priorities);
  if (out.class_id.value_or(0) != 0) in.fail_at("classID", "cgroup v2 has no net_cls controller");
  if (!out.priorities.empty()) in.fail_at("priorities", "cgroup v2 has no net_prio controller");
}

static void read(JsonReader& in, RdmaLimit& out) {
  in.optional("hcaHandles", out.hca_handles);
  in.optional("hcaObjects", out.hca_objects);
}

namespace {

struct PidsResources {
  std::optional<int64_t> limit;
};

void read(JsonReader& in, PidsResources& out) { in.optional("limit", out.limit); }

}  // namespace

static void check_unified(JsonReader& in, const std::map<std::string, std::string>& files) {
  for (const auto& [name, value] : files) {
    if (name.contains('/'))
      in.fail_at("unified", "unified resource {} must be a file name (no slashes)", quote(name));
    if (std::ranges::find(kMembership, name) != kMembership.end())
      in.fail_at("unified", "{} would move processes of the guest", name);
  }
}

void read(JsonReader& in, Resources& out) {
  PidsResources pids;
  in.optional("devices", out.devices);
  in.optional("memory", out.memory);
  in.optional("cpu", out.cpu);
  in.optional("pids", pids);
  in.optional("blockIO", out.block_io);
  in.optional("hugepageLimits", out.hugepage_limits);
  in.optional("network", out.network);
  in.optional("rdma", out.rdma);
  in.optional("unified", out.unified);
  out.pids_limit = pids.limit;
  for (const auto& [device, limit] : out.rdma)
    if (device.empty() || has_space(device))
      in.fail_at("rdma", "{} is no name of a device", quote(device));
  check_unified(in, out.unified);
}

}  // namespace kata::oci
