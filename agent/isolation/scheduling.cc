#include "agent/isolation/scheduling.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include <linux/ioprio.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/oci/cpu_list.h"

namespace kata::isolation {

namespace {

constexpr int kThisProcess = 0;

constexpr auto kPolicies = std::to_array<std::pair<std::string_view, uint32_t>>({
    {"SCHED_OTHER", SCHED_OTHER},
    {"SCHED_FIFO", SCHED_FIFO},
    {"SCHED_RR", SCHED_RR},
    {"SCHED_BATCH", SCHED_BATCH},
    {"SCHED_ISO", SCHED_ISO},
    {"SCHED_IDLE", SCHED_IDLE},
    {"SCHED_DEADLINE", SCHED_DEADLINE},
});

constexpr auto kFlags = std::to_array<std::pair<std::string_view, uint64_t>>({
    {"SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK},
    {"SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM},
    {"SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN},
    {"SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY},
    {"SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS},
    {"SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN},
    {"SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX},
});

constexpr auto kIoClasses = std::to_array<std::pair<std::string_view, int>>({
    {"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
    {"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
    {"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE},
});

/// struct sched_attr of sched_setattr(2): linux/sched/types.h clashes with libc's sched.h.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0;
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
  uint32_t least_utilization = 0;
  uint32_t most_utilization = 0;
};
static_assert(sizeof(SchedulingAttributes) == 56);

/// The parser has checked the names.
template <typename Table>
auto value_of(const Table& table, std::string_view name) {
  return std::ranges::find(table, name, &Table::value_type::first)->second;
}

Status set_scheduler(const oci::Scheduler& scheduler) {
  SchedulingAttributes wanted;
  wanted.policy = value_of(kPolicies, scheduler.policy);
  for (const auto& flag : scheduler.flags) wanted.flags |= value_of(kFlags, flag);
  wanted.nice = scheduler.nice;
  wanted.priority = static_cast<uint32_t>(scheduler.priority);
  wanted.runtime_ns = scheduler.runtime_ns;
  wanted.deadline_ns = scheduler.deadline_ns;
  wanted.period_ns = scheduler.period_ns;
  if (::syscall(SYS_sched_setattr, kThisProcess, &wanted, 0) < 0)
    return fail_call("process.scheduler: error setting scheduler");
  return {};
}

Status set_io_priority(const oci::IoPriority& priority) {
  const int value = IOPRIO_PRIO_VALUE(value_of(kIoClasses, priority.io_class), priority.priority);
  if (::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, kThisProcess, value) < 0)
    return fail_call("process.ioPriority: failed to set io priority");
  return {};
}

Status set_affinity(const cpu_set_t& set, const char* key) {
  if (::sched_setaffinity(kThisProcess, sizeof set, &set) < 0)
    return fail_call(fmt::format("process.execCPUAffinity.{}: error setting CPU affinity", key));
  return {};
}

Status set_affinity(const std::string& list, const char* key) {
  KATA_TRY(auto cpus, oci::parse_cpu_list(list));
  cpu_set_t set;
  CPU_ZERO(&set);
  for (unsigned cpu : cpus) CPU_SET(cpu, &set);
  return set_affinity(set, key);
}

}  // namespace

Status set_scheduling(const oci::Process& process) {
  if (process.scheduler) KATA_CHECK(set_scheduler(*process.scheduler));
  if (process.io_priority) KATA_CHECK(set_io_priority(*process.io_priority));
  return {};
}

Status set_initial_affinity(const oci::Process& process) {
  if (!process.exec_cpu_affinity || process.exec_cpu_affinity->initial.empty()) return {};
  return set_affinity(process.exec_cpu_affinity->initial, "initial");
}

Status set_final_affinity(const oci::Process& process) {
  if (!process.exec_cpu_affinity) return {};
  const auto& affinity = *process.exec_cpu_affinity;
  if (!affinity.final.empty()) return set_affinity(affinity.final, "final");
  if (affinity.initial.empty()) return {};
  cpu_set_t all;
  CPU_ZERO(&all);
  for (unsigned cpu = 0; cpu < oci::kMaxCpus; ++cpu) CPU_SET(cpu, &all);
  return set_affinity(all, "initial");
}

Status set_personality(const oci::Personality& personality) {
  const unsigned long domain = personality.domain == "LINUX32" ? PER_LINUX32 : PER_LINUX;
  if (::personality(domain) < 0)
    return fail_call("linux.personality: unable to set the process execution domain");
  return {};
}

}  // namespace kata::isolation
