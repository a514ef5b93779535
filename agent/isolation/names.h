// Host and domain name of a container's UTS namespace.
#pragma once

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// Sets the names that the spec gives. InvalidArgument where it gives one without a uts namespace:
/// that would rename the pod.
Status set_names(const oci::Spec& spec);

}  // namespace kata::isolation
