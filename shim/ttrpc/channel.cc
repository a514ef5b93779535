#include "shim/ttrpc/channel.h"

#include <array>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>

namespace kata::ttrpc {
namespace {

// Most requests of containerd are below 1 KiB; one of these lives in each connection's coroutine.
constexpr size_t kReadChunkBytes = 4096;

}  // namespace

Channel::Channel(Socket socket)
    : socket_(std::move(socket)),
      written_(socket_.get_executor(), asio::steady_timer::time_point::max()) {}

Async<Frame> Channel::read() {
  auto self = shared_from_this();
  std::array<char, kReadChunkBytes> chunk;
  for (;;) {
    KATA_CO_TRY(std::optional<Frame> frame, decoder_.next());
    if (frame) co_return std::move(*frame);
    boost::system::error_code error;
    size_t count = co_await socket_.async_read_some(
        asio::buffer(chunk), asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return fail(Code::kUnavailable, "connection ended: {}", error.message());
    decoder_.append({chunk.data(), count});
  }
}

void Channel::send(uint32_t stream_id, uint8_t type, std::string payload) {
  if (!socket_.is_open()) return;
  FrameHeader header{.length = static_cast<uint32_t>(payload.size()),
                     .stream_id = stream_id,
                     .type = type,
                     .flags = 0};
  queued_bytes_ += kFrameHeaderBytes + payload.size();
  queue_.push_back({encode_header(header), std::move(payload)});
  if (writing_) return;
  writing_ = true;
  asio::co_spawn(socket_.get_executor(), write_queue(shared_from_this()), asio::detached);
}

asio::awaitable<void> Channel::write_queue(std::shared_ptr<Channel> self) {
  while (!self->queue_.empty()) {
    Outgoing frame = std::move(self->queue_.front());
    self->queue_.pop_front();
    std::array<asio::const_buffer, 2> buffers{asio::buffer(frame.header),
                                              asio::buffer(frame.payload)};
    boost::system::error_code error;
    co_await asio::async_write(self->socket_, buffers,
                               asio::redirect_error(asio::use_awaitable, error));
    if (error) {
      self->close();
      break;
    }
    self->queued_bytes_ -= kFrameHeaderBytes + frame.payload.size();
    self->written_.cancel();
  }
  self->writing_ = false;
}

asio::awaitable<void> Channel::queue_below(size_t limit) {
  auto self = shared_from_this();
  while (socket_.is_open() && queued_bytes_ > limit) {
    boost::system::error_code cancelled;
    co_await written_.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
  }
}

void Channel::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
  queue_.clear();
  queued_bytes_ = 0;
  written_.cancel();
}

}  // namespace kata::ttrpc
