// One standard stream of a process, on the event loop: see stdio.h for what it promises.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "agent/sandbox/event_loop.h"
#include "agent/sandbox/stream_listener.h"
#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::container {

/// start() -> the host connects -> bytes flow -> their end -> closed. All methods belong to the
/// loop's thread. A started stream keeps itself alive until it is closed.
class Stream : public std::enable_shared_from_this<Stream> {
 public:
  enum class Direction { kToProcess, kFromProcess };

  /// `pipe` is the process's side, a pipe or a terminal. An output without a listener is read and
  /// dropped.
  Stream(sandbox::EventLoop& loop, Direction direction, UniqueFd pipe,
         std::unique_ptr<sandbox::StreamListener> listener);

  Status start();
  /// Closes stdin and a listener without a connection; outputs go on to their end.
  void process_ended();
  void close();

 private:
  enum class Progress { kYes, kBlocked, kClosed };

  void accept();
  Status connected();
  void copy();
  Progress copy_once();
  /// The source's next bytes, as read(2) tells it.
  ssize_t read_source(std::span<char> buffer);
  void widen_pipe();
  /// Writes what it can; the rest becomes pending_.
  Progress write(std::span<const char> bytes);
  /// Everything has been written: passes the end of the source on.
  void end_sink();
  void watch_source(bool wanted);
  void await_sink(bool wanted);

  UniqueFd& source() { return direction_ == Direction::kToProcess ? connection_ : pipe_; }
  UniqueFd& sink() { return direction_ == Direction::kToProcess ? pipe_ : connection_; }

  sandbox::EventLoop& loop_;
  Direction direction_;
  UniqueFd pipe_;
  UniqueFd connection_;
  std::unique_ptr<sandbox::StreamListener> listener_;

  sandbox::EventLoop::WatchId listener_watch_ = 0;
  // Present only while bytes are wanted: epoll reports a hang-up even when nothing is asked for,
  // which would keep the loop busy for as long as the sink is blocked.
  sandbox::EventLoop::WatchId source_watch_ = 0;
  // Always present, to learn that the reader has gone; asks for EPOLLOUT only while blocked.
  sandbox::EventLoop::WatchId sink_watch_ = 0;
  bool sink_awaited_ = false;
  std::vector<char> pending_;  // read, not yet written
  bool source_ended_ = false;
  bool pipe_is_wide_ = false;
};

}  // namespace kata::container
