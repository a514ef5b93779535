#include "common/sys/exit_status.h"

#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <sys/wait.h>

namespace kata::sys {

std::string describe(const ExitStatus& status) {
  if (status.code) return fmt::format("exited with status {}", *status.code);
  if (status.signal) {
    const char* name = ::sigdescr_np(*status.signal);
    return fmt::format("killed by signal {} ({})", *status.signal, name ? name : "unknown");
  }
  return "ended with an unknown status";
}

ExitStatus reap_child(int pidfd) {
  siginfo_t info{};
  ExitStatus status;
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED) != 0)
    if (errno != EINTR) return status;
  if (info.si_code == CLD_EXITED)
    status.code = info.si_status;
  else
    status.signal = info.si_status;
  return status;
}

}  // namespace kata::sys
