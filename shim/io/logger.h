// A process of the client's choice that takes a container's output: binary:// URIs.
//
// As containerd has it (core/runtime/v2/logging): the logger reads stdout on descriptor 3 and
// stderr on 4, and says on 5 that it is ready, by a byte or by closing it; CONTAINER_ID and
// CONTAINER_NAMESPACE are its whole environment. Unlike there a logger that dies before it is ready
// is an error.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "common/sys/async.h"
#include "shim/io/sink.h"
#include "shim/io/uri.h"

namespace kata::io {

struct LoggerOptions {
  /// binary:// or binary-v2://; the latter must write the byte.
  StdioUri uri;
  std::string container_id;
  std::string nspace;
  /// See sys::SubprocessOptions.
  int network_namespace = -1;
  bool wants_out = true;
  bool wants_err = true;
  /// To get ready. Large, because the machine may be busy; containerd waits for ever.
  std::chrono::milliseconds ready_limit = std::chrono::seconds(30);
  /// From the end of both streams to the logger's; then it is killed. Less than the sandbox waits
  /// for drained().
  std::chrono::milliseconds end_limit = std::chrono::seconds(8);
};

/// Those that are wanted. finish() of each waits for the logger's end, so that what it has read is
/// where it belongs; the logger cannot end before both streams have.
struct LoggerSinks {
  std::unique_ptr<Sink> out;
  std::unique_ptr<Sink> err;
};

/// Starts the logger and waits until it is ready. It dies with this process and with `executor`,
/// whose only thread must be the caller's and live as long as the process.
///
/// NotFound, PermissionDenied: the executable. FailedPrecondition: it ended, or closed its
/// descriptor without the byte that it owed. DeadlineExceeded: it did not get ready. On an error it
/// has been killed and reaped.
Async<LoggerSinks> start_logger(asio::any_io_executor executor, LoggerOptions options);

}  // namespace kata::io
