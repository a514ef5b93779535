// Resource limits of a process that are not a control group's.
#pragma once

#include <cstdint>
#include <vector>

#include <sys/types.h>

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// prlimit(2) for each, of the calling process or another one. Raising a hard limit needs
/// CAP_SYS_RESOURCE, and not only that of a user namespace.
Status set_rlimits(const std::vector<oci::Rlimit>& limits, pid_t pid = 0);

/// Writes process.oom_score_adj, if given, for the calling process, in the /proc of the mount
/// namespace it is in: for a process that joins a running container, call it before joining.
Status set_oom_score_adj(const oci::Process& process);

}  // namespace kata::isolation
