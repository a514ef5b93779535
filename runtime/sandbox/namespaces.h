// The namespaces that the shim lives in. The first two calls move the whole process only as long as
// it has one thread: call them before any other is started. Errors: PermissionDenied without
// CAP_SYS_ADMIN.
#pragma once

#include <optional>
#include <string>

#include "common/error/error.h"

namespace kata::sandbox {

/// A mount namespace of our own, with "/" a recursive slave (mount_namespaces(7)): mounts of the
/// host still arrive, ours are seen by no one else and vanish with the last process in it.
Status enter_private_mount_namespace();

/// The pod's network namespace, as linux.namespaces of config.json has it: no entry (nullopt) stays
/// in the host's, an empty path makes a fresh one, a path joins that one.
/// NotFound: no such path. InvalidArgument: it is no network namespace.
Status enter_network_namespace(const std::optional<std::string>& path);

/// Whether this process is in the network namespace that `fd` is a descriptor of; -1 is always its
/// own. Any thread.
Result<bool> is_network_namespace_of(int fd);

}  // namespace kata::sandbox
