#include "shim/command/process_tuning.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/base/unique_fd.h"
#include "common/log/log.h"
#include "common/sys/file.h"

namespace kata::command {
namespace {

constexpr int kMaxOomScoreAdj = 1000;
constexpr size_t kMaxScoreBytes = 64;

std::string score_file(pid_t pid) { return fmt::format("/proc/{}/oom_score_adj", pid); }

Result<int> oom_score_of(pid_t pid) {
  KATA_TRY(std::string text, sys::read_file(score_file(pid), kMaxScoreBytes));
  int score = 0;
  std::from_chars(text.data(), text.data() + text.size(), score);
  return score;
}

Status set_oom_score(pid_t pid, int score) {
  UniqueFd fd(open(score_file(pid).c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return fail_errno("open oom_score_adj");
  std::string text = fmt::format("{}", score);
  if (write(fd.get(), text.data(), text.size()) < 0)
    return fail_errno(fmt::format("set oom_score_adj to {}", score));
  return {};
}

}  // namespace

void adjust_oom_score(pid_t pid) {
  Result<int> parent = oom_score_of(getppid());
  Status adjusted = parent ? set_oom_score(pid, std::min(*parent + 1, kMaxOomScoreAdj))
                           : Status(std::unexpected(parent.error()));
  if (!adjusted)
    log::warning("cannot adjust the shim's OOM score", {{"error", adjusted.error().message()}});
}

Status enable_core_scheduling() {
  if (prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_PROCESS_GROUP, 0) != 0)
    return fail_errno("enable core scheduling (SCHED_CORE)");
  return {};
}

}  // namespace kata::command
