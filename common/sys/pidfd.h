// Processes by pidfd and by identity (pid + start time), so that a reused pid is never mistaken for
// the process that a state file names. See pidfd_open(2) and proc(5).
#pragma once

#include <chrono>
#include <cstdint>

#include <sys/types.h>

#include "common/base/unique_fd.h"
#include "common/sys/async.h"

namespace kata::sys {

struct ProcessIdentity {
  pid_t pid = -1;
  /// Field 22 of /proc/<pid>/stat: clock ticks after boot.
  uint64_t start_time = 0;
};

/// NotFound: no such process.
Result<UniqueFd> open_pidfd(pid_t pid);

/// Start time of a process that exists (a zombie does). NotFound otherwise.
Result<uint64_t> process_start_time(pid_t pid);

/// Whether it is on its way out, or gone: a process that ends closes its descriptors before its end
/// can be waited for, so their other ends hear of it first.
bool is_exiting(pid_t pid);

/// A pidfd that certainly is of this process. NotFound: it has gone, or its pid is another's now.
Result<UniqueFd> open_process(const ProcessIdentity& process);

/// Completes when the process has ended (perhaps a zombie still). `pidfd` is borrowed until then.
Async<void> wait_pidfd(int pidfd);

/// NotFound: it has gone.
Status kill_process(const ProcessIdentity& process, int signal);

/// SIGKILL, then blocks until the process has ended. One that has gone is no error.
/// DeadlineExceeded: it still runs after `timeout` (stuck in the kernel).
Status end_process(const ProcessIdentity& process, std::chrono::milliseconds timeout);

}  // namespace kata::sys
