// The `start` action: a serving shim for a container, new or its sandbox's.
#pragma once

#include <string>

#include "common/error/error.h"
#include "shim/command/command_line.h"

namespace kata::command {

/// Reads what containerd says on stdin (service/bootstrap_messages.h), finds or starts the shim and
/// writes the bundle's files. Answers what to print on stdout. On an error nothing is left behind.
/// NotFound: the container's sandbox has no shim. AlreadyExists: the id has one. Otherwise what
/// kept the serving process from being ready, such as a configuration that is refused.
Result<std::string> start(CommandLine line);

}  // namespace kata::command
