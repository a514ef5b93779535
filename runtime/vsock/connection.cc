#include "runtime/vsock/connection.h"

#include <algorithm>
#include <cerrno>
#include <string>

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace kata::vsock {

Connection::Connection(uint32_t id, ConnectionKey key, Origin origin, UniqueFd socket,
                       uint64_t guest_cid, uint32_t buffer_bytes)
    : id_(id),
      key_(key),
      guest_cid_(guest_cid),
      buffer_bytes_(buffer_bytes),
      state_(origin == Origin::kHost ? State::kRequestDue : State::kEstablished),
      socket_(std::move(socket)),
      pending_(buffer_bytes),
      response_due_(origin == Origin::kGuest) {}

Connection::Verdict Connection::receive(const VsockHeader& packet, std::span<const iovec> payload) {
  const auto op = static_cast<VsockOp>(packet.op);
  if (op == VsockOp::kRst) return Verdict::kReset;
  if (!update_peer_credit(packet)) return Verdict::kViolation;
  if (op == VsockOp::kResponse) return on_response();
  if (state_ != State::kEstablished) return Verdict::kViolation;
  switch (op) {
    case VsockOp::kRw:
      return on_data(packet, payload);
    case VsockOp::kShutdown:
      return on_shutdown(packet.flags & kShutdownBoth);
    case VsockOp::kCreditUpdate:
      return Verdict::kOpen;
    case VsockOp::kCreditRequest:
      credit_update_due_ = true;
      return Verdict::kOpen;
    default:
      return Verdict::kViolation;
  }
}

bool Connection::update_peer_credit(const VsockHeader& packet) {
  peer_buffer_ = packet.buf_alloc;
  // A guest with several CPUs may queue two packets in the other order than it stamped them: an
  // older count is ignored. A count beyond what was sent is a lie.
  const auto step = static_cast<int32_t>(packet.fwd_cnt - peer_forwarded_);
  if (step <= 0) return true;
  if (static_cast<uint32_t>(step) > sent_ - peer_forwarded_) return false;
  peer_forwarded_ = packet.fwd_cnt;
  return true;
}

uint32_t Connection::credit() const {
  const uint32_t in_flight = sent_ - peer_forwarded_;
  // Half the number space keeps the comparison of counts in update_peer_credit() unambiguous.
  const uint32_t buffer = std::min<uint32_t>(peer_buffer_, INT32_MAX);
  return buffer > in_flight ? buffer - in_flight : 0;
}

Connection::Verdict Connection::on_response() {
  if (state_ != State::kRequestSent) return Verdict::kViolation;
  state_ = State::kEstablished;
  const std::string line = fmt::format("OK {}\n", key_.host_port);
  // Nothing has been written to this socket yet, so the line fits or nobody is there.
  const ssize_t sent = ::send(socket_.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent == static_cast<ssize_t>(line.size()) ? Verdict::kOpen : Verdict::kViolation;
}

Connection::Verdict Connection::on_data(const VsockHeader& packet, std::span<const iovec> payload) {
  const uint32_t unforwarded = received_ - forwarded_;
  if ((guest_shutdown_ & kShutdownSend) || packet.len > buffer_bytes_ - unforwarded) {
    return Verdict::kViolation;
  }
  received_ += packet.len;
  if (!host_reads_) {
    forwarded(packet.len);
    return Verdict::kOpen;
  }
  const size_t written = pending_.empty() && writable_ ? write_some(payload) : 0;
  forwarded(written);
  if (!host_reads_) {
    forwarded(packet.len - written);
  } else if (written < packet.len) {
    pending_.append(payload, written);
  }
  return Verdict::kOpen;
}

Connection::Verdict Connection::on_shutdown(uint32_t flags) {
  guest_shutdown_ |= flags;
  if (guest_shutdown_ == kShutdownBoth) return Verdict::kClosed;
  if ((flags & kShutdownReceive) && host_sends_) {
    // The host's writers get EPIPE; what they have written nobody will read.
    host_sends_ = false;
    ::shutdown(socket_.get(), SHUT_RD);
  }
  finish_writing_if_due();
  return Verdict::kOpen;
}

Connection::Verdict Connection::on_socket_events(uint32_t events) {
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) readable_ = true;
  if (events & EPOLLOUT) writable_ = true;
  // HUP: both directions of the socket are shut, so nobody will ever read what is written.
  if (events & (EPOLLHUP | EPOLLERR)) {
    if (state_ == State::kRequestDue || state_ == State::kRequestSent) return Verdict::kAbandoned;
    if (!write_shut_) host_stopped_reading();
    shutdown_due_ |= kShutdownReceive;
  }
  write_pending();
  return Verdict::kOpen;
}

void Connection::write_pending() {
  iovec ranges[2];
  while (writable_ && !pending_.empty()) {
    const size_t count = pending_.content(ranges);
    const size_t written = write_some({ranges, count});
    // A dead socket has emptied the queue.
    if (!host_reads_) break;
    pending_.consume(written);
    forwarded(written);
  }
  finish_writing_if_due();
}

size_t Connection::write_some(std::span<const iovec> ranges) {
  size_t wanted = 0;
  for (const iovec& range : ranges) wanted += range.iov_len;
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(ranges.data());
  message.msg_iovlen = ranges.size();
  ssize_t written;
  do {
    written = ::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (written < 0 && errno == EINTR);
  if (written < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
    host_stopped_reading();
    return 0;
  }
  const size_t done = written < 0 ? 0 : static_cast<size_t>(written);
  if (done < wanted) writable_ = false;
  return done;
}

void Connection::forwarded(size_t bytes) {
  forwarded_ += static_cast<uint32_t>(bytes);
  // A quarter of the window per update keeps the guest sending without a flood of updates.
  if (forwarded_ - last_forwarded_ >= buffer_bytes_ / 4) credit_update_due_ = true;
}

void Connection::finish_writing_if_due() {
  if (!(guest_shutdown_ & kShutdownSend) || write_shut_ || !pending_.empty()) return;
  write_shut_ = true;
  ::shutdown(socket_.get(), SHUT_WR);
}

// The guest learns it by a shutdown; what it sends until then is dropped as if it had been read.
void Connection::host_stopped_reading() {
  host_reads_ = false;
  const size_t dropped = pending_.size();
  pending_.clear();
  forwarded(dropped);
  shutdown_due_ |= kShutdownReceive;
}

bool Connection::has_control() const {
  if (state_ == State::kRequestDue) return true;
  if (state_ != State::kEstablished) return false;
  return response_due_ || credit_update_due_ || credit_request_due_ ||
         (shutdown_due_ & ~shutdown_sent_) != 0;
}

bool Connection::wants_read() {
  if (state_ != State::kEstablished || response_due_ || !readable_ || !host_sends_) return false;
  if (credit() > 0) {
    credit_requested_ = false;
    return true;
  }
  // Asked once per stall: a guest whose reader sleeps answers with the same count for ever.
  if (!credit_requested_) credit_request_due_ = credit_requested_ = true;
  return false;
}

VsockHeader Connection::next_control() {
  if (state_ == State::kRequestDue) {
    state_ = State::kRequestSent;
    return header(VsockOp::kRequest);
  }
  if (response_due_) {
    response_due_ = false;
    return header(VsockOp::kResponse);
  }
  if (credit_request_due_) {
    credit_request_due_ = false;
    return header(VsockOp::kCreditRequest);
  }
  if (credit_update_due_) return header(VsockOp::kCreditUpdate);
  shutdown_sent_ |= shutdown_due_;
  VsockHeader packet = header(VsockOp::kShutdown);
  packet.flags = shutdown_sent_;
  return packet;
}

size_t Connection::read(std::span<const iovec> ranges) {
  ssize_t count;
  do {
    count = ::readv(socket_.get(), ranges.data(), static_cast<int>(ranges.size()));
  } while (count < 0 && errno == EINTR);
  if (count > 0) {
    sent_ += static_cast<uint32_t>(count);
    return static_cast<size_t>(count);
  }
  readable_ = false;
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
  // End of file, or a reset by a host process that closed without reading everything.
  host_sends_ = false;
  shutdown_due_ |= kShutdownSend;
  return 0;
}

VsockHeader Connection::data_header(uint32_t length) {
  VsockHeader packet = header(VsockOp::kRw);
  packet.len = length;
  return packet;
}

VsockHeader Connection::header(VsockOp op) {
  VsockHeader packet;
  packet.src_cid = kHostCid;
  packet.dst_cid = guest_cid_;
  packet.src_port = key_.host_port;
  packet.dst_port = key_.guest_port;
  packet.op = static_cast<uint16_t>(op);
  packet.buf_alloc = buffer_bytes_;
  packet.fwd_cnt = forwarded_;
  // Every packet carries the credit.
  last_forwarded_ = forwarded_;
  credit_update_due_ = false;
  return packet;
}

bool Connection::begin_draining() {
  state_ = State::kDraining;
  guest_shutdown_ = kShutdownBoth;
  write_pending();
  return !pending_.empty();
}

}  // namespace kata::vsock
