// The thread on which the bytes of all processes' stdio move.
#pragma once

#include <thread>

#include <boost/asio/io_context.hpp>

#include "common/sys/async.h"
#include "shim/io/reader_watch.h"
#include "shim/io/transfer.h"

namespace kata::io {

/// One per shim process, started on first use and stopped at its exit. Streams never block it: each
/// waits for its own descriptors and, after a burst, lets the others go first.
class Copier {
 public:
  static Copier& instance();
  ~Copier();
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;

  asio::any_io_executor executor() { return context_.get_executor(); }

  // Only on the copier's thread:
  BufferPool& buffers() { return buffers_; }
  ReaderWatcher& reader_watcher() { return reader_watcher_; }

 private:
  Copier();

  /// Never destroyed: streams that still run at exit are the kernel's to close.
  asio::io_context& context_;
  BufferPool buffers_;
  ReaderWatcher reader_watcher_;
  std::thread thread_;
};

}  // namespace kata::io
