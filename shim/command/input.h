// What containerd writes to the stdin of a command.
#pragma once

#include <string>

#include "common/error/error.h"

namespace kata::command {

/// Everything up to the end of `fd`. Nothing from one that is closed, or is a terminal, where a
/// person tries the command. ResourceExhausted: more than 4 MiB.
Result<std::string> read_input(int fd);

}  // namespace kata::command
