// The agent's own code in a new process of a container, up to the execve of the program: of its
// init, which makes the container around itself first, or of an exec, which joins it.
#pragma once

#include "common/base/unique_fd.h"

namespace kata::container {

/// Runs the process's side of sync.h on `sync` and executes the program; returns the exit
/// status when that has failed. For main(), when argv[0] is kInitName: single-threaded, before
/// anything else has run.
int run_init(UniqueFd sync);

}  // namespace kata::container
