// The init of a container: the process that becomes the container's first program.
#pragma once

#include "common/base/unique_fd.h"

namespace kata::container {

/// Runs the init's side of sync.h on `sync` and executes the container's program; returns the exit
/// status when that has failed. For main(), when argv[0] is kInitName: single-threaded, before
/// anything else has run.
int run_init(UniqueFd sync);

}  // namespace kata::container
