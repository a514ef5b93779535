// What PID 1 of the guest does before it can serve: each step once, in this order, single-threaded.
#pragma once

#include "common/error/error.h"

namespace kata::sandbox {

/// /proc, /sys, /dev with pts and shm, /run, /tmp, and cgroup v2 at /sys/fs/cgroup.
Status mount_file_systems();

/// Standard streams that the kernel could not open, and /dev/console for the log.
Status open_console();

/// The loopback interface.
Status bring_loopback_up();

/// Moves the agent to a group of its own, which no limit of a container reaches.
Status enter_own_cgroup();

/// Out of reach of the OOM killer and of ptrace(2), with descriptors enough for any number of
/// streams.
Status protect_self();

/// Ends the guest. Returns only if the kernel refuses.
void power_off();

}  // namespace kata::sandbox
