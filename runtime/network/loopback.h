// What comes to the loopback of the pod's namespace on the host, where nobody of the pod listens:
// its servers are in the guest. CRI's port-forward connects there.
#pragma once

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::network {

/// While it lives, every TCP connection that somebody in the namespace makes to 127.0.0.0/8 or ::1,
/// to whatever port, waits at `socket` to be accepted; getsockname(2) tells the port.
struct Loopback {
  UniqueFd socket;  // non-blocking
  UniqueFd program;
};

/// Of the network namespace that the calling thread is in. FailedPrecondition: the kernel has no
/// such programs (before 5.9).
Result<Loopback> listen_on_loopback();

}  // namespace kata::network
