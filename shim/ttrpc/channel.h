// One ttrpc connection: frames in, frames out. Shared by server and client.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

#include "common/sys/async.h"
#include "shim/ttrpc/frame.h"

namespace kata::ttrpc {

using Socket = asio::local::stream_protocol::socket;

/// Owned by shared_ptr, because the writing coroutine outlives a caller that gives up. Used on one
/// executor; one coroutine reads at a time, any may send.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  explicit Channel(Socket socket);

  /// The next frame. Unavailable: the connection has ended. InvalidArgument: garbage; close it.
  Async<Frame> read();

  /// Queues a frame; frames are written whole and in this order. Dropped when the connection has
  /// ended. The payload is at most kMaxMessageBytes.
  void send(uint32_t stream_id, uint8_t type, std::string payload);

  /// Bytes that the peer has not taken yet.
  size_t queued_bytes() const { return queued_bytes_; }
  /// Completes when no more than `limit` bytes are queued, or the connection has ended.
  asio::awaitable<void> queue_below(size_t limit);

  /// Ends the connection at once: read() and queue_below() complete. Safe to repeat.
  void close();
  bool is_open() const { return socket_.is_open(); }
  asio::any_io_executor executor() { return socket_.get_executor(); }

 private:
  struct Outgoing {
    std::array<char, kFrameHeaderBytes> header;
    std::string payload;
  };
  static asio::awaitable<void> write_queue(std::shared_ptr<Channel> self);

  Socket socket_;
  FrameDecoder decoder_;
  std::deque<Outgoing> queue_;
  size_t queued_bytes_ = 0;
  bool writing_ = false;
  asio::steady_timer written_;  // cancelled whenever queued_bytes_ shrinks
};

}  // namespace kata::ttrpc
