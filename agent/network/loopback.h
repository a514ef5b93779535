// The host's connections to the guest's loopback (common/agent_protocol.h, kLoopbackPort): those of
// CRI's port-forward.
#pragma once

#include "common/base/unique_fd.h"

namespace kata::network {

/// Serves one connection on threads of its own, and returns at once. More than some at a time are
/// closed.
void connect_to_loopback(UniqueFd host);

}  // namespace kata::network
