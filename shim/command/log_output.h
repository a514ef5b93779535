// The shim's log: the bundle's "log" fifo, whose reader is containerd.
#pragma once

#include "common/error/error.h"
#include "shim/command/bundle.h"

namespace kata::command {

/// Sends the log to the fifo. It is opened for reading and writing and non-blocking: a containerd
/// that is away or slow neither blocks the shim nor kills it with SIGPIPE, lines are dropped once
/// the pipe is full. Without a fifo (no containerd) the log stays on standard error.
void log_to_bundle(const Bundle& bundle);

/// The same, and standard error too, for libraries that write there.
void log_and_stderr_to_bundle(const Bundle& bundle);

}  // namespace kata::command
