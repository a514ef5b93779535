// The terminal of a process: a pseudo-terminal (pty(7)) of the container's own devpts.
#pragma once

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// Opens a new pty of the devpts at /dev/pts of the mount namespace that the caller is in, gives it
/// to the process's user and makes it stdin, stdout, stderr and the controlling terminal of the
/// caller, which leads a session that has none. Returns its master, of the size that the process
/// asks for.
///
/// Nothing is opened by a name that the container chooses: whatever a running one has made of
/// /dev/pts, either it is a devpts and its ptmx, or the call fails.
Result<UniqueFd> take_terminal(const oci::Process& process);

/// Mounts the terminal, which is stdin, on /dev/console, for the init of a container. A link there
/// is not followed; a file is made where nothing is.
Status mount_console();

}  // namespace kata::isolation
