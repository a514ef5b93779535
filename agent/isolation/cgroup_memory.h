// linux.resources.memory on cgroup v2 (internal to the Cgroup class).
#pragma once

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// Writes memory.max, memory.swap.max and memory.low. What is not named stays, but for the swap
/// that a limit of both together leaves beside a new memory limit.
Status apply_memory(int group, const oci::MemoryResources& memory);

}  // namespace kata::isolation
