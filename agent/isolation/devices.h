// /dev of a container: the nodes and links that every container has, and those of linux.devices.
#pragma once

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// Makes them below `rootfs`, after its mounts. Where the spec binds a /dev of its own nothing is
/// made. A node that exists already is left as it is, except /dev/ptmx.
Status make_devices(const oci::Spec& spec, int rootfs);

/// After pivot_into: those of stdin, stdout and stderr that are the guest's /dev/null become the
/// container's.
Status reopen_null_stdio(const oci::Spec& spec);

/// The container's /dev/null (O_PATH) below `root`. FailedPrecondition if it is anything but the
/// null device: images may bring a /dev of their own.
Result<UniqueFd> open_null(int root);

}  // namespace kata::isolation
