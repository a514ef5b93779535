// Where the bytes of an output stream go on the host.
#pragma once

#include "common/sys/async.h"

namespace kata::io {

/// One output stream's target. Made on any thread; everything else is for the copier's. Destruction
/// closes it.
class Sink {
 public:
  virtual ~Sink() = default;

  /// Gets ready to be written to; called once, first.
  virtual Status start() = 0;

  /// Non-blocking. Valid until finish() or close().
  virtual int fd() = 0;

  /// Returns when fd() may take bytes, or the sink has been closed.
  virtual asio::awaitable<void> writable() = 0;

  /// The process has ended. What nobody reads now is not kept for a client that may come again.
  virtual void process_ended() {}

  /// Every byte has been written: gives the client its end of file and returns when there is
  /// nothing more to wait for, or the sink has been closed.
  virtual asio::awaitable<void> finish() = 0;

  /// Closes at once; whoever waits in writable() or finish() is woken. Safe to repeat.
  virtual void close() = 0;
};

}  // namespace kata::io
