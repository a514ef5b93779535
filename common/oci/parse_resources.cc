#include <array>

#include "common/oci/readers.h"

namespace kata::oci {

namespace {

constexpr std::array<std::string_view, 4> kRuleTypes = {"", "a", "b", "c"};
constexpr uint64_t kMinShares = 2;
constexpr uint64_t kMaxShares = 262144;

}  // namespace

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
}

static void read(JsonReader& in, WeightDevice& out) {
  in.required("major", out.major);
  in.required("minor", out.minor);
  in.optional("weight", out.weight);
  in.optional("leafWeight", out.leaf_weight);
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
}

static void read(JsonReader& in, HugepageLimit& out) {
  in.required("pageSize", out.page_size);
  in.required("limit", out.limit);
}

static void read(JsonReader& in, InterfacePriority& out) {
  in.required("name", out.name);
  in.required("priority", out.priority);
}

static void read(JsonReader& in, NetworkResources& out) {
  in.optional("classID", out.class_id);
  in.optional("priorities", out.priorities);
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
}

}  // namespace kata::oci
