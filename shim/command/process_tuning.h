// How the kernel should treat the serving process.
#pragma once

#include <sys/types.h>

#include "common/error/error.h"

namespace kata::command {

/// Gives `pid` the OOM score of our parent (containerd) plus one, as containerd's shims do: the
/// kernel shall rather kill a shim than containerd. A kernel that forbids it is logged, once.
void adjust_oom_score(pid_t pid);

/// A core scheduling cookie for our process group, which children inherit
/// (Documentation/admin-guide/hw-vuln/core-scheduling.rst). For SCHED_CORE.
Status enable_core_scheduling();

}  // namespace kata::command
