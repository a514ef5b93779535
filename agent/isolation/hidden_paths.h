// linux.maskedPaths and linux.readonlyPaths.
#pragma once

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// In the container's own root, after pivot_into and all mounts. Read-only paths become binds of
/// themselves; masked files show /dev/null, masked directories an empty read-only tmpfs. Paths that
/// do not exist are passed over.
Status hide_paths(const oci::Spec& spec);

}  // namespace kata::isolation
