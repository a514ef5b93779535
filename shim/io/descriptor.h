// Descriptors in the copier's event loop. All of it is for the copier's thread.
#pragma once

#include <string>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "common/base/unique_fd.h"
#include "common/sys/async.h"

namespace kata::io {

/// A non-blocking, pollable descriptor, or nothing. Not copyable.
class Descriptor {
 public:
  using Ready = asio::posix::stream_descriptor::wait_type;

  Descriptor();
  ~Descriptor() { close(); }

  /// Takes `fd` into the event loop.
  Status open(UniqueFd fd);
  bool is_open() const { return descriptor_.is_open(); }
  /// -1 when there is none.
  int fd() { return is_open() ? descriptor_.native_handle() : -1; }

  /// True: ready, or in an error state that the next system call tells. False: it has been closed.
  asio::awaitable<bool> wait(Ready what);

  /// Closes at once and wakes who waits. Safe to repeat.
  void close();

 private:
  asio::posix::stream_descriptor descriptor_;
};

/// A path that opens the same file again, whatever has become of its name.
std::string reopen_path(int fd);

}  // namespace kata::io
