// The mounts of a spec, made inside a container's root.
//
// Targets are whatever the image makes of the destination, resolved below the root only. What an
// image could use to fool the runtime is refused as in runc: proc and sysfs on anything but a real
// directory, anything on top of files of /proc except those that lxcfs is known for.
#pragma once

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// All of them in order, below `rootfs` (from take_rootfs). Missing targets are created. tmpfs and
/// /dev stay writable until seal_mounts(). Sources of binds are paths of the guest.
Status mount_all(const oci::Spec& spec, int rootfs);

/// After pivot_into: makes read-only what was to be and had to be written to meanwhile.
Status seal_mounts(const oci::Spec& spec);

}  // namespace kata::isolation
