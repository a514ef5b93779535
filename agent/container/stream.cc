#include "agent/container/stream.h"

#include <algorithm>
#include <utility>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common/log/log.h"

namespace kata::container {
namespace {

// Then the loop looks after its other descriptors.
constexpr int kRoundsPerEvent = 4;
// What a pipe holds when it is made (pipe(7)).
constexpr size_t kPipeBytes = 64 * 1024;
// Each change from the process to the agent and back empties the TLB: let much come at once.
constexpr size_t kWidePipeBytes = 256 * 1024;
// A packet is one allocation of the guest's kernel. Of the largest possible packet, 64 KiB, its
// header makes an allocation of twice the size.
constexpr size_t kPacketBytes = 60 * 1024;

}  // namespace

Stream::Stream(sandbox::EventLoop& loop, Direction direction, UniqueFd pipe,
               std::unique_ptr<sandbox::StreamListener> listener)
    : loop_(loop), direction_(direction), pipe_(std::move(pipe)), listener_(std::move(listener)) {}

Status Stream::start() {
  if (!listener_) {
    watch_source(true);
    return {};
  }
  KATA_TRY(listener_watch_, loop_.add(listener_->descriptor(), EPOLLIN,
                                      [self = shared_from_this()](uint32_t) { self->accept(); }));
  return {};
}

void Stream::process_ended() {
  // The host may have connected just before the end, with the event still to come.
  if (listener_) accept();
  if (listener_ || direction_ == Direction::kToProcess) close();
}

void Stream::close() {
  // Each watch's handler holds a reference to this object.
  auto self = shared_from_this();
  for (auto* watch : {&listener_watch_, &source_watch_, &sink_watch_}) {
    loop_.remove(std::exchange(*watch, 0));
  }
  listener_.reset();
  pipe_.reset();
  connection_.reset();
  pending_ = {};
}

void Stream::accept() {
  auto accepted = listener_->accept();
  if (!accepted) {
    log::error("standard stream lost", {{"error", accepted.error().message()}});
    close();
    return;
  }
  if (!*accepted) return;
  connection_ = *std::move(accepted);
  loop_.remove(std::exchange(listener_watch_, 0));
  listener_.reset();
  if (auto ready = connected(); !ready) {
    log::error("standard stream lost", {{"error", ready.error().message()}});
    close();
  }
}

Status Stream::connected() {
  KATA_TRY(sink_watch_, loop_.add(sink().get(), 0, [self = shared_from_this()](uint32_t events) {
    // The reader has gone, or has seen the end and closed: nothing is left to do.
    if (events & (EPOLLERR | EPOLLHUP)) {
      self->close();
    } else {
      self->copy();
    }
  }));
  watch_source(true);
  return {};
}

void Stream::copy() {
  for (int round = 0; round < kRoundsPerEvent; ++round) {
    Progress progress = copy_once();
    if (progress == Progress::kClosed) return;
    if (progress == Progress::kBlocked) break;
  }
  const bool sink_blocked = !pending_.empty();
  await_sink(sink_blocked);
  watch_source(!sink_blocked && !source_ended_);
}

Stream::Progress Stream::copy_once() {
  if (!pending_.empty()) {
    std::vector<char> bytes = std::exchange(pending_, {});
    return write(bytes);
  }
  if (source_ended_) return Progress::kBlocked;
  std::span<char> buffer = loop_.scratch();
  ssize_t got = read_source(buffer);
  if (got > 0) return write(buffer.first(static_cast<size_t>(got)));
  if (got < 0 && errno == EINTR) return Progress::kYes;
  if (got < 0 && errno == EAGAIN) return Progress::kBlocked;
  // A reset connection is an end as well: whoever wrote will write no more. A terminal's end is
  // EIO.
  source_ended_ = true;
  end_sink();
  return sink() ? Progress::kBlocked : Progress::kClosed;
}

// Not splice(2): it would send each page of the pipe as a vsock packet of its own.
ssize_t Stream::read_source(std::span<char> buffer) {
  if (direction_ == Direction::kToProcess) {
    // No more than the pipe takes at once: the rest would have to be kept.
    return read(connection_.get(), buffer.data(), std::min(buffer.size(), kPipeBytes));
  }
  ssize_t got = read(pipe_.get(), buffer.data(), buffer.size());
  if (got >= static_cast<ssize_t>(kPipeBytes)) widen_pipe();
  return got;
}

/// Of a process that has filled it: not of every process, because all pipes of a user share a
/// limit. A terminal has nothing to widen.
void Stream::widen_pipe() {
  if (pipe_is_wide_) return;
  pipe_is_wide_ = true;
  fcntl(pipe_.get(), F_SETPIPE_SZ, static_cast<int>(kWidePipeBytes));
}

Stream::Progress Stream::write(std::span<const char> bytes) {
  if (!connection_) return Progress::kYes;  // nobody wants it
  while (!bytes.empty()) {
    ssize_t put = ::write(sink().get(), bytes.data(), std::min(bytes.size(), kPacketBytes));
    if (put >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(put));
    } else if (errno == EAGAIN) {
      pending_.assign(bytes.begin(), bytes.end());
      return Progress::kBlocked;
    } else if (errno != EINTR) {
      close();
      return Progress::kClosed;
    }
  }
  return Progress::kYes;
}

void Stream::end_sink() {
  if (direction_ == Direction::kToProcess || !connection_) {
    close();
    return;
  }
  // Closed only when the host has closed as well, so that it certainly gets everything.
  watch_source(false);
  pipe_.reset();
  if (shutdown(connection_.get(), SHUT_WR) != 0) close();
}

void Stream::watch_source(bool wanted) {
  if (wanted == (source_watch_ != 0)) return;
  if (!wanted) {
    loop_.remove(std::exchange(source_watch_, 0));
    return;
  }
  auto added =
      loop_.add(source().get(), EPOLLIN, [self = shared_from_this()](uint32_t) { self->copy(); });
  if (added) {
    source_watch_ = *added;
  } else {
    log::error("standard stream lost", {{"error", added.error().message()}});
    close();
  }
}

void Stream::await_sink(bool wanted) {
  if (wanted == sink_awaited_) return;
  sink_awaited_ = wanted;
  loop_.modify(sink_watch_, wanted ? static_cast<uint32_t>(EPOLLOUT) : 0);
}

}  // namespace kata::container
