// From a directory of the guest to the "/" of a container's mount namespace.
//
// Order: take_rootfs, then what is to be seen in it (mounts.h, devices.h), then pivot_into, then
// finish_root. The caller has a mount namespace of its own.
#pragma once

#include <string>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/oci/spec.h"
#include "common/sys/mount.h"

namespace kata::isolation {

/// For PID 1 of the guest, before it mounts anything: stacks the initramfs on itself and makes that
/// the root. pivot_root(2) refuses to leave the kernel's own first mount (EINVAL), and what is
/// mounted below it would stay reachable to no use.
Status make_root_pivotable();

/// Cuts the namespace off from the guest's (mounts made in the guest still arrive, unless the spec
/// wants private ones; none leave), binds `rootfs` on itself and returns it: the directory that
/// sys::open_in_root and its like resolve in.
Result<UniqueFd> take_rootfs(const oci::Spec& spec, const std::string& rootfs);
/// The same with a root from clone_rootfs(), which need not be within the caller's reach: it comes
/// to lie on the guest's.
Status take_prepared_rootfs(const oci::Spec& spec, int prepared);

/// In the guest's own namespace: a detached clone of `rootfs`.
Result<UniqueFd> clone_rootfs(const oci::Spec& spec, const std::string& rootfs);
/// How mounts of the guest that are cloned for the container are connected with the guest's.
sys::MountOptions::Propagation inherited_propagation(const oci::Spec& spec);

/// Makes it "/" and the working directory and lets go of everything of the guest.
Status pivot_into(int rootfs);

/// root.readonly, and the propagation that the spec wants for "/".
Status finish_root(const oci::Spec& spec);

}  // namespace kata::isolation
