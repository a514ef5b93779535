#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include <sys/resource.h>

#include "common/oci/cpu_list.h"
#include "common/oci/readers.h"

namespace kata::oci {

namespace {

constexpr auto kRlimits = std::to_array<std::pair<std::string_view, int>>({
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
});

constexpr std::array<std::string_view, 7> kSchedulerPolicies = {
    "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR",      "SCHED_BATCH",
    "SCHED_ISO",   "SCHED_IDLE", "SCHED_DEADLINE"};
constexpr std::array<std::string_view, 7> kSchedulerFlags = {
    "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM",     "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",   "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX"};
constexpr std::array<std::string_view, 3> kIoClasses = {"IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE",
                                                        "IOPRIO_CLASS_IDLE"};

/// As in runc. (id_t)-1 above all must never reach setresuid(2), which takes it for "no change".
constexpr uint32_t kMaxUserId = std::numeric_limits<int32_t>::max();

constexpr int32_t kNiceMin = -20;
constexpr int32_t kNiceMax = 19;
constexpr int32_t kIoPriorityMax = 7;

constexpr int32_t kOomScoreAdjMin = -1000;
constexpr int32_t kOomScoreAdjMax = 1000;

}  // namespace

static void check_id(JsonReader& in, const char* key, uint32_t id) {
  if (id > kMaxUserId) in.fail_at(key, "{}: uids and gids must be in range 0-{}", id, kMaxUserId);
}

static void read(JsonReader& in, User& out) {
  in.optional("uid", out.uid);
  in.optional("gid", out.gid);
  in.optional("umask", out.umask);
  in.optional("additionalGids", out.additional_gids);
  check_id(in, "uid", out.uid);
  check_id(in, "gid", out.gid);
  for (gid_t gid : out.additional_gids) check_id(in, "additionalGids", gid);
}

static void read(JsonReader& in, Capabilities& out) {
  in.optional("bounding", out.bounding);
  in.optional("effective", out.effective);
  in.optional("inheritable", out.inheritable);
  in.optional("permitted", out.permitted);
  in.optional("ambient", out.ambient);
}

static void read(JsonReader& in, Rlimit& out) {
  in.required("type", out.type);
  in.required("soft", out.soft);
  in.required("hard", out.hard);
  if (in.failed()) return;
  const auto* known =
      std::ranges::find(kRlimits, out.type, &std::pair<std::string_view, int>::first);
  if (known == kRlimits.end()) return in.fail_at("type", "unknown value {}", quote(out.type));
  out.resource = known->second;
  if (out.soft > out.hard)
    in.fail_at("soft", "{} is above the hard limit of {}", out.soft, out.hard);
}

static void read(JsonReader& in, ConsoleSize& out) {
  in.optional("height", out.height);
  in.optional("width", out.width);
}

static void check_deadline(JsonReader& in, const char* key, bool allowed, uint64_t value) {
  if (!allowed && value != 0) in.fail_at(key, "is of SCHED_DEADLINE alone");
}

static void read(JsonReader& in, Scheduler& out) {
  in.required_enum("policy", out.policy, kSchedulerPolicies);
  in.optional("nice", out.nice);
  in.optional("priority", out.priority);
  in.optional_enums("flags", out.flags, kSchedulerFlags);
  in.optional("runtime", out.runtime_ns);
  in.optional("deadline", out.deadline_ns);
  in.optional("period", out.period_ns);
  if (in.failed()) return;
  const bool has_nice = out.policy == "SCHED_OTHER" || out.policy == "SCHED_BATCH";
  const bool has_priority = out.policy == "SCHED_FIFO" || out.policy == "SCHED_RR";
  const bool has_deadline = out.policy == "SCHED_DEADLINE";
  if (has_nice && (out.nice < kNiceMin || out.nice > kNiceMax))
    in.fail_at("nice", "{} is not within {} and {}", out.nice, kNiceMin, kNiceMax);
  if (!has_priority && out.priority != 0)
    in.fail_at("priority", "is of SCHED_FIFO and SCHED_RR, not of {}", out.policy);
  check_deadline(in, "runtime", has_deadline, out.runtime_ns);
  check_deadline(in, "deadline", has_deadline, out.deadline_ns);
  check_deadline(in, "period", has_deadline, out.period_ns);
}

static void read(JsonReader& in, IoPriority& out) {
  in.required_enum("class", out.io_class, kIoClasses);
  in.optional("priority", out.priority);
  if (out.priority < 0 || out.priority > kIoPriorityMax)
    in.fail_at("priority", "{} is not within 0 and {}", out.priority, kIoPriorityMax);
}

static void check_cpus(JsonReader& in, const char* key, const std::string& list) {
  if (in.failed() || list.empty()) return;
  if (auto cpus = parse_cpu_list(list); !cpus) in.fail_at(key, "{}", cpus.error().message());
}

static void read(JsonReader& in, CpuAffinity& out) {
  in.optional("initial", out.initial);
  in.optional("final", out.final);
  check_cpus(in, "initial", out.initial);
  check_cpus(in, "final", out.final);
}

static void check_env(JsonReader& in, const std::vector<std::string>& env) {
  for (size_t i = 0; i < env.size(); ++i) {
    auto equals = env[i].find('=');
    if (equals == std::string::npos)
      return in.fail_at("env", "invalid environment variable: {}", quote(env[i]));
    if (equals == 0)
      return in.fail_at("env", "environment variable name can't be empty: {}", quote(env[i]));
  }
}

void read(JsonReader& in, Process& out) {
  in.optional("terminal", out.terminal);
  in.optional("consoleSize", out.console_size);
  in.optional("user", out.user);
  in.optional("args", out.args);
  in.optional("env", out.env);
  in.required("cwd", out.cwd);
  in.optional("capabilities", out.capabilities);
  in.optional("rlimits", out.rlimits);
  in.optional("noNewPrivileges", out.no_new_privileges);
  in.optional("oomScoreAdj", out.oom_score_adj);
  in.optional("apparmorProfile", out.apparmor_profile);
  in.optional("selinuxLabel", out.selinux_label);
  in.optional("scheduler", out.scheduler);
  in.optional("ioPriority", out.io_priority);
  in.optional("execCPUAffinity", out.exec_cpu_affinity);
  if (in.failed()) return;

  // runc's words, here and below.
  if (out.args.empty()) return in.fail("args must not be empty");
  if (!out.cwd.starts_with('/'))
    return in.fail("cwd must be an absolute path, not {}", quote(out.cwd));
  check_env(in, out.env);
  if (out.oom_score_adj &&
      (*out.oom_score_adj < kOomScoreAdjMin || *out.oom_score_adj > kOomScoreAdjMax))
    in.fail_at("oomScoreAdj", "{} is not within {} and {}", *out.oom_score_adj, kOomScoreAdjMin,
               kOomScoreAdjMax);
  for (auto limit = out.rlimits.begin(); limit != out.rlimits.end(); ++limit)
    if (std::find_if(out.rlimits.begin(), limit, [&](const Rlimit& earlier) {
          return earlier.resource == limit->resource;
        }) != limit)
      in.fail_at("rlimits", "{} is there twice", limit->type);
}

}  // namespace kata::oci
