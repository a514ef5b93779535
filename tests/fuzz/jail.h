// Where the agent's calls are fuzzed: they mount, kill and write by their nature.
//
// The walls, outermost first; each alone is meant to hold.
//   a user of its own (tools/lib/fuzzing.py: setpriv), who owns nothing on the host, and in a user
//     namespace (unshare) no more rights over what is not in its other namespaces: no device is
//     made or opened, no file system on a disk mounted, no module loaded, no clock and no sysctl of
//     the host set, no priority raised, and no process of another user is killed
//   namespaces for pids (nothing else can be named; everything dies with the fuzzer), mounts,
//     network, IPC, host name and control groups
//   enter_jail(): every mount read-only but a new tmpfs and the working directory
#pragma once

#include "common/error/error.h"

namespace kata::fuzz {

/// Refuses anything but that user and those namespaces: nobody runs this target as root by mistake.
/// Afterwards $TMPDIR is a new tmpfs, /sys/fs/cgroup the control group that the fuzzer was started
/// in. Single-threaded.
Status enter_jail();

}  // namespace kata::fuzz
