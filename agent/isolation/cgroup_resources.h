// Limits of the spec, which speaks of cgroup v1, as cgroup v2 takes them (internal to Cgroup).
#pragma once

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// Writes the limits into the files of the group's directory; see Cgroup::apply.
Status apply_resources(int group, const oci::Resources& resources);

}  // namespace kata::isolation
