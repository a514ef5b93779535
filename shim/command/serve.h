// The serving process: one pod, until it is shut down.
#pragma once

#include "common/error/error.h"
#include "shim/command/command_line.h"

namespace kata::command {

/// Serves the task and the sandbox service on the inherited socket, or on -socket, and returns when
/// the pod has been shut down (by containerd, or by SIGTERM or SIGINT) and nothing of it is left.
/// Must be called before any thread is started.
Status serve(const CommandLine& line);

}  // namespace kata::command
