#include "shim/io/input_copy.h"

#include <cerrno>
#include <utility>

#include <boost/asio/post.hpp>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "common/log/log.h"
#include "shim/io/copier.h"
#include "shim/io/fifo.h"

namespace kata::io {
namespace {

bool hung_up(int socket) {
  pollfd state{.fd = socket, .events = 0, .revents = 0};
  return ::poll(&state, 1, 0) > 0;
}

/// How a stream socket tells that its peer takes no more; a closed pipe is no error to its writer.
bool peer_gone(int error_number) { return error_number == ECONNRESET || error_number == ENOTCONN; }

}  // namespace

InputCopy::InputCopy(std::string id, UniqueFd fifo, UniqueFd guest)
    : id_(std::move(id)), fifo_(std::move(fifo)), guest_socket_(std::move(guest)) {}

void InputCopy::start() {
  asio::co_spawn(
      Copier::instance().executor(), [self = shared_from_this()] { return self->run(); },
      asio::detached);
}

void InputCopy::release() {
  asio::post(Copier::instance().executor(), [self = shared_from_this()] {
    self->released_ = true;
    self->keeper_.reset();
  });
}

void InputCopy::cancel() {
  asio::post(Copier::instance().executor(), [self = shared_from_this()] { self->close(); });
}

void InputCopy::close() {
  source_.close();
  guest_.close();
  keeper_.reset();
}

asio::awaitable<void> InputCopy::run() {
  if (auto opened = open(); !opened) {
    log_failure(opened.error().message());
    co_return close();
  }
  asio::co_spawn(
      Copier::instance().executor(), [self = shared_from_this()] { return self->watch_guest(); },
      asio::detached);
  bool complete = co_await copy();
  if (!complete) co_return close();
  source_.close();
  keeper_.reset();
  // watch_guest() closes it later: now, a reset could overtake bytes that the guest has not read.
  ::shutdown(guest_.fd(), SHUT_WR);
}

Status InputCopy::open() {
  KATA_CHECK(guest_.open(std::move(guest_socket_)));
  KATA_TRY(auto reader, open_fifo(fifo_, O_RDONLY));
  if (!released_) {
    KATA_TRY(keeper_, open_fifo(fifo_, O_WRONLY));
  }
  fifo_.reset();
  return source_.open(std::move(reader));
}

/// True at the end of file, with everything handed to the guest.
asio::awaitable<bool> InputCopy::copy() {
  Transfer transfer(source_.fd(), guest_.fd(), Copier::instance().buffers());
  while (guest_.is_open()) {
    switch (transfer.step()) {
      case Transfer::Step::kMoved:
        co_await asio::post(asio::use_awaitable);
        break;
      case Transfer::Step::kSourceEmpty:
        co_await source_.wait(Descriptor::Ready::wait_read);
        break;
      case Transfer::Step::kSinkFull:
        co_await guest_.wait(Descriptor::Ready::wait_write);
        break;
      case Transfer::Step::kEnd:
        co_return true;
      case Transfer::Step::kSinkGone:
        co_return false;
      case Transfer::Step::kFailed:
        if (!peer_gone(transfer.error_number()))
          log_failure(errno_error("copy", transfer.error_number()).message());
        co_return false;
    }
  }
  co_return false;
}

asio::awaitable<void> InputCopy::watch_guest() {
  bool open = true;
  while (open && !hung_up(guest_.fd())) open = co_await guest_.wait(Descriptor::Ready::wait_error);
  close();
}

void InputCopy::log_failure(std::string_view cause) {
  log::error("a stream broke",
             {{"container", id_}, {"stream", "stdin"}, {"error", std::string(cause)}});
}

}  // namespace kata::io
