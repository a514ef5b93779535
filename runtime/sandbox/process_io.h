// The seam between a process in the guest and the client's stdio: implemented by shim/io.
#pragma once

#include <memory>

#include "common/base/unique_fd.h"
#include "common/sys/async.h"

namespace kata::sandbox {

/// Guest ends of a process's streams: connected non-blocking stream sockets, or empty.
struct StdioStreams {
  UniqueFd in;
  UniqueFd out;
  UniqueFd err;
};

/// Client's stdio of one process. Owned by the process; used on the sandbox's executor.
class ProcessIo {
 public:
  virtual ~ProcessIo() = default;

  virtual bool wants_stdin() const = 0;
  virtual bool wants_stdout() const = 0;
  virtual bool wants_stderr() const = 0;

  /// Starts copying between the client's stdio and `streams`. Called once, after open.
  virtual void attach(StdioStreams streams) = 0;

  /// Completes when stdout and stderr have reached their end and the client's side is closed. Never
  /// attached: at once.
  virtual Async<void> drained() = 0;

  /// The client has asked to close stdin: what it wrote before still reaches the process, then EOF.
  virtual void close_stdin() = 0;

  /// The process has ended: output that no client reads any more is dropped, so that drained() does
  /// not wait for one to come again.
  virtual void process_ended() = 0;

  /// Stops copying at once and closes everything (the VM has gone, or the process is deleted).
  virtual void cancel() = 0;
};

}  // namespace kata::sandbox
