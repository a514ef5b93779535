// The `delete` action: what containerd runs when a shim's connection has ended, whatever ended it.
#pragma once

#include <string>

#include "common/error/error.h"
#include "shim/command/command_line.h"

namespace kata::command {

/// Removes everything that the shim and its pod left: processes, state, mounts, socket. A shim that
/// still runs is asked to shut down, then killed. Harmless when nothing is left, when run twice and
/// for a container that only joined a sandbox. Answers what to print on stdout.
Result<std::string> delete_leftovers(const CommandLine& line);

}  // namespace kata::command
