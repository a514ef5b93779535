#include "agent/isolation/limits.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/base/unique_fd.h"

namespace kata::isolation {

Status set_rlimits(const std::vector<oci::Rlimit>& limits, pid_t pid) {
  for (const auto& limit : limits) {
    rlimit value = {limit.soft, limit.hard};
    if (::prlimit(pid, static_cast<__rlimit_resource>(limit.resource), &value, nullptr) < 0)
      return fail_call(
          fmt::format("error setting {} to {}:{}", limit.type, limit.soft, limit.hard));
  }
  return {};
}

Status set_oom_score_adj(const oci::Process& process) {
  if (!process.oom_score_adj) return {};
  constexpr const char* kPath = "/proc/self/oom_score_adj";
  UniqueFd file(::open(kPath, O_WRONLY | O_CLOEXEC));
  if (!file) return fail_call(fmt::format("open {}", kPath));
  auto text = fmt::to_string(*process.oom_score_adj);
  if (::write(file.get(), text.data(), text.size()) < 0)
    return fail_call(fmt::format("write {} to {}", text, kPath));
  return {};
}

}  // namespace kata::isolation
