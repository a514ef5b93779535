// Resource limits of a process that are not a control group's.
#pragma once

#include <cstdint>
#include <vector>

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// setrlimit(2) for each. Raising a hard limit needs CAP_SYS_RESOURCE.
Status set_rlimits(const std::vector<oci::Rlimit>& limits);

/// Writes process.oom_score_adj, if given, for the calling process, in the /proc of the mount
/// namespace it is in: for a process that joins a running container, call it before joining.
Status set_oom_score_adj(const oci::Process& process);

}  // namespace kata::isolation
