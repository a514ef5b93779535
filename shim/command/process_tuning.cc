#include "shim/command/process_tuning.h"

#include <algorithm>
#include <cerrno>
#include <string>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/log/log.h"
#include "common/sys/file.h"

namespace kata::command {
namespace {

constexpr int kMaxOomScoreAdj = 1000;

std::string score_file(pid_t pid) { return fmt::format("/proc/{}/oom_score_adj", pid); }

Status set_above_parent(pid_t pid) {
  KATA_TRY(const int parent, sys::read_number<int>(score_file(getppid())));
  return sys::write_existing(score_file(pid),
                             fmt::to_string(std::min(parent + 1, kMaxOomScoreAdj)));
}

}  // namespace

void adjust_oom_score(pid_t pid) {
  if (Status adjusted = set_above_parent(pid); !adjusted)
    log::warning("cannot adjust the shim's OOM score", {{"error", adjusted.error().message()}});
}

Status enable_core_scheduling() {
  if (prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_PROCESS_GROUP, 0) != 0)
    return fail_errno("enable core scheduling (SCHED_CORE)");
  return {};
}

}  // namespace kata::command
