// A client's stdio as containerd names it, for one process.
#pragma once

#include <memory>
#include <string>

#include "common/sys/async.h"
#include "runtime/sandbox/process_io.h"

namespace kata::io {

/// As a Create or Exec request has it. An empty path: not wanted.
struct StdioConfig {
  std::string in;
  std::string out;
  std::string err;
  /// The console carries both outputs: `err` does not count, and closing stdin does nothing.
  bool terminal = false;
  /// For the log: the container's id, with the exec's behind a slash if it is one.
  std::string id = {};
  /// containerd's namespace; for loggers, which are told the last part of `id` too.
  std::string nspace = {};
  /// Of the host, borrowed: where loggers start, since the shim itself lives in the pod's network.
  /// -1: the shim's.
  int logger_network = -1;
};

/// Finds the client's ends; they are opened at attach(), never waiting for the client.
///
/// The semantics are those of containerd's runc shim: standard input ends after close_stdin(), when
/// the last client has closed its end too; a client that goes away changes nothing: output it has
/// not read waits for the next one, up to the fifo's 64 KiB, then the process waits. Beyond it:
/// output for a client that has not opened its end yet is kept until it does, and drained() tells
/// that the client has read everything, since `ctr` stops reading when it hears of the process's
/// end. A client that is there and never reads, or that never comes, therefore holds drained()
/// until cancel().
///
/// The bytes move on the copier's thread (copier.h). The ProcessIo is used and destroyed on
/// `executor`, whose context must outlive it.
///
/// Each output is a fifo's path, fifo://, file:// (file_sink.h), binary:// or binary-v2://
/// (logger.h; one logger serves both outputs if they name the same URI). An output's end is the
/// logger's end there, so that drained() means that the log is complete.
///
/// Errors: NotFound: no such fifo; InvalidArgument: not a fifo, an unknown URI scheme or one that
/// standard input cannot have; those of open_file_sink() and start_logger().
Async<std::unique_ptr<sandbox::ProcessIo>> open_stdio(asio::any_io_executor executor,
                                                      StdioConfig config);

}  // namespace kata::io
