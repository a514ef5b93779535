#include "runtime/vsock/async_socket.h"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>

namespace kata::vsock {

// Shared with the timer's handler, which may run after the waiter has gone.
struct SocketWaiter::State {
  State(const asio::any_io_executor& executor, UniqueFd socket)
      : descriptor(executor, socket.release()), timer(executor) {}

  asio::posix::stream_descriptor descriptor;
  asio::steady_timer timer;
  bool timed_out = false;
};

SocketWaiter::SocketWaiter(asio::any_io_executor executor, UniqueFd socket,
                           std::chrono::milliseconds timeout)
    : state_(std::make_shared<State>(executor, std::move(socket))) {
  if (timeout == timeout.zero()) return;
  state_->timer.expires_after(timeout);
  state_->timer.async_wait([state = std::weak_ptr(state_)](const boost::system::error_code& error) {
    auto alive = state.lock();
    if (error || !alive) return;
    alive->timed_out = true;
    alive->descriptor.cancel();
  });
}

SocketWaiter::~SocketWaiter() = default;

int SocketWaiter::fd() const { return state_->descriptor.native_handle(); }

Async<void> SocketWaiter::wait(For what) {
  // Kept here too: the coroutine's frame may outlive the waiter while it is being destroyed.
  std::shared_ptr<State> state = state_;
  if (!state->timed_out) {
    boost::system::error_code error;
    const auto wait_type = what == For::kReadable ? asio::posix::stream_descriptor::wait_read
                                                  : asio::posix::stream_descriptor::wait_write;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    co_await state->descriptor.async_wait(wait_type, token);
    if (!error) co_return Status{};
  }
  if (state->timed_out) co_return fail(Code::kDeadlineExceeded, "no answer in time");
  co_return fail(Code::kCancelled, "cancelled while waiting for a socket");
}

UniqueFd SocketWaiter::release() {
  state_->timer.cancel();
  return UniqueFd(state_->descriptor.release());
}

}  // namespace kata::vsock
