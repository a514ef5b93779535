#include "agent/isolation/cgroup_resources.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "agent/isolation/cgroup_file.h"

namespace kata::isolation {

namespace {

constexpr int64_t kUnlimited = -1;
const std::string kDefaultPeriodUs = "100000";

/// As runc: -1 alone means no limit; of other negative numbers the kernel says EINVAL.
std::string amount(int64_t value) { return value == kUnlimited ? "max" : fmt::to_string(value); }

/// `key` is the spec's, for messages.
Status write_limit(int group, const char* controller, const char* file, const char* key,
                   const std::string& value) {
  auto status = write_cgroup_file(group, file, value);
  if (status) return {};
  if (status.error().code() == Code::kNotFound)
    return fail(Code::kFailedPrecondition,
                "linux.resources.{}: the guest's kernel has no {} controller", key, controller);
  return std::unexpected(status.error().with_stage(fmt::format("linux.resources.{}", key)));
}

/// What the group has now; empty where it has none, or the kernel no such file.
std::string current(int group, const char* file) {
  auto text = read_cgroup_file(group, file);
  if (!text) return "";
  return text->substr(0, text->find('\n'));
}

/// 0 for "max".
int64_t current_memory_limit(int group) {
  auto text = current(group, "memory.max");
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// memory.swap counts both together in v1, in v2 swap alone; 0 is "not set".
Result<std::string> swap_value(int64_t swap, int64_t limit) {
  if (limit == kUnlimited && swap == 0) return "max";
  if (swap == kUnlimited) return "max";
  if (swap == 0) return "";
  if (limit <= 0)
    return fail(Code::kInvalidArgument,
                "linux.resources.memory.swap: unable to set swap limit without memory limit");
  if (swap < limit)
    return fail(Code::kInvalidArgument,
                "linux.resources.memory.swap: memory+swap limit should be >= memory limit");
  return fmt::to_string(swap - limit);
}

Status apply_memory(int group, const oci::MemoryResources& memory) {
  int64_t limit = memory.limit.value_or(0);
  // An update may name the one without the other.
  int64_t effective = limit != 0 ? limit : current_memory_limit(group);
  KATA_TRY(auto swap, swap_value(memory.swap.value_or(0), effective));
  if (!swap.empty()) {
    auto status = write_cgroup_file(group, "memory.swap.max", swap);
    // A kernel without swap keeps every limit on it.
    if (!status && status.error().code() != Code::kNotFound) return status;
  }
  if (limit != 0)
    KATA_CHECK(write_limit(group, "memory", "memory.max", "memory.limit", amount(limit)));
  if (int64_t low = memory.reservation.value_or(0); low != 0)
    KATA_CHECK(write_limit(group, "memory", "memory.low", "memory.reservation", amount(low)));
  return {};
}

/// v1's 2 to 262144 onto v2's 1 to 10000, as runc and systemd do.
uint64_t weight_of_shares(uint64_t shares) { return 1 + ((shares - 2) * 9999) / 262142; }

Status apply_cpu(int group, const oci::CpuResources& cpu) {
  if (uint64_t shares = cpu.shares.value_or(0); shares != 0)
    KATA_CHECK(write_limit(group, "cpu", "cpu.weight", "cpu.shares",
                           fmt::to_string(weight_of_shares(shares))));
  int64_t quota = cpu.quota_us.value_or(0);
  uint64_t period = cpu.period_us.value_or(0);
  if (quota == 0 && period == 0) return {};
  // One file holds both: what is not named stays.
  auto before = current(group, "cpu.max");
  auto space = std::min(before.find(' '), before.size());
  auto quota_text = before.empty() ? "max" : before.substr(0, space);
  auto period_text = space == before.size() ? kDefaultPeriodUs : before.substr(space + 1);
  if (quota != 0) quota_text = amount(quota > 0 ? quota : kUnlimited);
  if (period != 0) period_text = fmt::to_string(period);
  return write_limit(group, "cpu", "cpu.max", "cpu.quota", quota_text + " " + period_text);
}

}  // namespace

Status apply_resources(int group, const oci::Resources& resources) {
  KATA_CHECK(apply_memory(group, resources.memory));
  KATA_CHECK(apply_cpu(group, resources.cpu));
  if (int64_t pids = resources.pids_limit.value_or(0); pids != 0)
    KATA_CHECK(write_limit(group, "pids", "pids.max", "pids.limit", amount(pids)));
  return {};
}

}  // namespace kata::isolation
