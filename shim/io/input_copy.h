// A process's standard input on its way from the client to the guest.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/base/unique_fd.h"
#include "shim/io/descriptor.h"

namespace kata::io {

/// Copies until the fifo's last writer has closed it, then half-closes the guest's stream, and lets
/// go of it when the guest has. A guest that closes its end first ends the copy: the client's next
/// write gets EPIPE. Keeps itself alive meanwhile. It happens on the copier's thread; the public
/// functions may be called on any.
class InputCopy : public std::enable_shared_from_this<InputCopy> {
 public:
  /// `id` is for the log, `fifo` a handle from find_fifo().
  InputCopy(std::string id, UniqueFd fifo, UniqueFd guest);

  void start();
  /// From now on the last client's going away is the end of file. Legal before start().
  void release();
  void cancel();

 private:
  asio::awaitable<void> run();
  Status open();
  asio::awaitable<bool> copy();
  asio::awaitable<void> watch_guest();
  void close();
  void log_failure(std::string_view cause);

  const std::string id_;
  UniqueFd fifo_;          // until open()
  UniqueFd guest_socket_;  // until open()
  Descriptor source_;
  Descriptor guest_;
  /// A writer of our own: while it is open, a client that goes away is no end of file.
  UniqueFd keeper_;
  bool released_ = false;
};

}  // namespace kata::io
