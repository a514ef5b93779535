// The five capability sets of a process (capabilities(7)).
#pragma once

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// Drops from the bounding set all that is not listed. Before the user changes: needs CAP_SETPCAP.
Status drop_bounding(const oci::Capabilities& sets);

/// Sets permitted, effective, inheritable and ambient. After the user has changed, with
/// SECBIT_KEEP_CAPS having kept the permitted set. A capability that this kernel or libcap does not
/// know is left out, as in runc; one that the caller does not hold is PermissionDenied.
Status apply_capabilities(const oci::Capabilities& sets);

}  // namespace kata::isolation
