// Ending a shim that still runs although containerd has given it up.
#pragma once

#include "shim/command/bundle.h"
#include "shim/command/command_line.h"
#include "shim/command/shim_socket.h"

namespace kata::command {

/// Returns when the shim that served `line.id` has ended. One that is on its way out gets the time
/// to finish, one that still serves is asked to shut down its pod, one that does neither is killed.
/// Takes about 3 s at most: containerd gives `delete` 5 s.
void end_running_shim(const CommandLine& line, const Bundle& bundle, const ShimSocket& socket);

}  // namespace kata::command
