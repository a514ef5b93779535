// linux.sysctl: kernel parameters, of the container's own namespaces or of the guest.
#pragma once

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// Writes them below `proc_sys`, which must be the guest's own, not what a container's image calls
/// /proc; the calling process's namespaces take the effect. Allowed, as in runc: net.*, and with an
/// ipc namespace kernel.msg*, sem, shm* and fs.mqueue.*, with a uts namespace kernel.domainname.
/// Everything else changes the whole pod: it is for containers that may write /proc/sys themselves
/// (CAP_SYS_ADMIN, no read-only or masked /proc/sys, no user namespace of their own), and
/// InvalidArgument for the others. Those of the network are left out for a container in a user
/// namespace.
Status apply_sysctls(const oci::Spec& spec, const std::string& proc_sys = "/proc/sys");

/// Those of the network alone, by the agent: the guest's own network namespace does not belong to a
/// container's user namespace.
Status apply_network_sysctls(const oci::Spec& spec, const std::string& proc_sys = "/proc/sys");

}  // namespace kata::isolation
