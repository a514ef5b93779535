// Mounts that the agent has to make for a container's init, which may not: in a user namespace it
// has no power over the guest's file systems (nor, as far as its ids go, a way to them), and the
// process that maps a mount's ids has to see to another process's mappings.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// Of the container's root, beside the indexes of spec.mounts.
inline constexpr uint32_t kRootMount = UINT32_MAX;

/// Detached, complete with their options; gone with their descriptors.
using PreparedMounts = std::map<uint32_t, UniqueFd>;

/// In the guest's mount namespace, as its root. Those of a container in a user namespace: root,
/// binds, and sysfs, which belongs to the network namespace that the pod's containers share. Of any
/// container: idmapped mounts. Unimplemented, InvalidArgument: ids that cannot be mapped so.
Result<PreparedMounts> prepare_mounts(const oci::Spec& spec, const std::string& rootfs);

}  // namespace kata::isolation
