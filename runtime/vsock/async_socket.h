// Waiting for raw sockets from coroutines.
#pragma once

#include <chrono>
#include <memory>

#include "common/base/unique_fd.h"
#include "common/sys/async.h"

namespace kata::vsock {

/// How long a dial waits for the guest. A guest under emulation on a busy host takes seconds to
/// schedule a listener.
inline constexpr std::chrono::seconds kDialTimeout{10};

/// Waits for one socket up to a deadline. Owns the socket meanwhile; used by one coroutine.
class SocketWaiter {
 public:
  enum class For { kReadable, kWritable };

  /// `timeout` counts from here; zero means no deadline.
  SocketWaiter(asio::any_io_executor executor, UniqueFd socket, std::chrono::milliseconds timeout);
  SocketWaiter(const SocketWaiter&) = delete;
  SocketWaiter& operator=(const SocketWaiter&) = delete;
  ~SocketWaiter();

  int fd() const;
  /// DeadlineExceeded when the time is over, Cancelled when the coroutine is being cancelled.
  Async<void> wait(For what);
  /// Gives the socket up.
  UniqueFd release();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace kata::vsock
