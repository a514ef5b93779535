// The mounts of a spec, made inside a container's root.
//
// Targets are whatever the image makes of the destination, resolved below the root only. What an
// image could use to fool the runtime is refused as in runc: proc and sysfs on anything but a real
// directory, anything on top of files of /proc except those that lxcfs is known for.
#pragma once

#include "agent/isolation/prepared_mounts.h"
#include "common/error/error.h"
#include "common/oci/spec.h"
#include "common/sys/mount.h"

namespace kata::isolation {

/// All of them in order, below `rootfs` (from take_rootfs). Missing targets are created. tmpfs and
/// /dev stay writable until seal_mounts(). Sources of binds are paths of the guest. Those that are
/// prepared are attached.
Status mount_all(const oci::Spec& spec, int rootfs, const PreparedMounts& prepared);

/// After pivot_into: makes read-only what was to be and had to be written to meanwhile.
Status seal_mounts(const oci::Spec& spec);

bool is_bind(const oci::Mount& mount);
/// As it is to be mounted before seal_mounts().
sys::MountEntry entry_of(const oci::Mount& mount, const std::string& label);
/// The error with what was to be mounted where.
Error in_mount_stage(const Error& error, const oci::Mount& mount);

}  // namespace kata::isolation
