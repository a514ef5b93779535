// linux.sysctl: kernel parameters of the container's own namespaces.
#pragma once

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// Writes them below `proc_sys`, which must be the guest's own, not what a container's image calls
/// /proc; the calling process's namespaces take the effect. Allowed, as in runc: net.*, and with an
/// ipc namespace kernel.msg*, sem, shm* and fs.mqueue.*, with a uts namespace kernel.domainname.
/// Everything else is InvalidArgument: it would change the whole pod.
Status apply_sysctls(const oci::Spec& spec, const std::string& proc_sys = "/proc/sys");

}  // namespace kata::isolation
