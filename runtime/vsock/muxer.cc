#include "runtime/vsock/muxer.h"

#include <algorithm>
#include <string>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "runtime/vsock/unix_socket.h"

namespace kata::vsock {
namespace {

constexpr uint32_t kLastHostPort = (1U << 31) - 1;

/// Credit of a connection, in bytes: enough that a fast stream seldom waits for more. Late ones get
/// less, so that a guest that opens all it can and finds no reader makes us hold 58 MiB at most.
uint32_t buffer_bytes(size_t connections) {
  constexpr uint32_t kKib = 1024;
  if (connections < 16) return 1024 * kKib;
  return connections < 64 ? 256 * kKib : 32 * kKib;
}

constexpr uint32_t kConnectionEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

/// One turn of a connection towards the guest, and what one service() call moves each way before
/// other events are looked at.
constexpr size_t kTurnBytes = 64 * 1024;
constexpr size_t kServiceBytes = 512 * 1024;
constexpr size_t kServicePackets = 256;
/// Receive buffers that one readv fills. Linux guests offer 4 KiB each.
constexpr size_t kBatchBuffers = 32;
/// With so many resets waiting for receive buffers no further packets are taken.
constexpr size_t kMaxResets = 256;

}  // namespace

Result<bool> Muxer::service() {
  if (session_ == nullptr) return false;
  bool more = false;
  if (Virtqueue* queue = session_->queue(kTransmitQueue)) {
    KATA_TRY(more, take_packets(*queue));
    publish_taken(*queue);
  } else {
    look_.clear();
  }
  if (Virtqueue* queue = session_->queue(kReceiveQueue)) {
    KATA_TRY(const bool more_to_offer, offer_packets(*queue));
    publish_offered(*queue);
    more |= more_to_offer;
  }
  return more;
}

void Muxer::publish_taken(Virtqueue& queue) {
  const size_t buffers = queue.unpublished();
  taken_interrupt_.published(buffers, queue.publish());
  if (taken_interrupt_.is_due()) send_taken_interrupt();
}

void Muxer::send_taken_interrupt() {
  if (session_ != nullptr && taken_interrupt_.due()) session_->interrupt(kTransmitQueue);
  taken_interrupt_.clear();
}

void Muxer::publish_offered(Virtqueue& queue) {
  if (queue.publish()) session_->interrupt(kReceiveQueue);
}

// ---- guest to host ----

Result<bool> Muxer::take_packets(Virtqueue& queue) {
  queue.disable_kicks();
  for (size_t packets = 0; packets < kServicePackets; ++packets) {
    // Resets wait for receive buffers: offer_packets() comes next and asks to be called again.
    if (resets_.size() >= kMaxResets) return false;
    KATA_TRY(bool popped, queue.pop(packet_chain_));
    if (!popped) {
      if (!look_.wants_kick() || !queue.enable_kicks()) return false;
      queue.disable_kicks();
      continue;
    }
    look_.took(packet_chain_.size);
    KATA_CHECK(take_packet(packet_chain_));
    queue.push(packet_chain_.head, 0);
  }
  return true;
}

Status Muxer::take_packet(const DescriptorChain& chain) {
  VsockHeader packet;
  if (!read_header(chain.ranges, packet)) {
    return fail(Code::kInvalidArgument, "a vsock packet of {} bytes: shorter than its header",
                chain.size);
  }
  const uint32_t length = packet.len;
  if (length > chain.size - sizeof(packet)) {
    return fail(Code::kInvalidArgument, "a vsock packet of {} bytes claims a payload of {}",
                chain.size, length);
  }
  ranges_.clear();
  slice(chain.ranges, sizeof(packet), length, ranges_);
  dispatch(packet, ranges_);
  return {};
}

void Muxer::dispatch(const VsockHeader& packet, std::span<const iovec> payload) {
  const auto op = static_cast<VsockOp>(packet.op);
  const bool ours =
      packet.type == kTypeStream && packet.src_cid == guest_cid_ && packet.dst_cid == kHostCid;
  Entry* entry = ours ? find({packet.dst_port, packet.src_port}) : nullptr;
  if (entry != nullptr) {
    settle(*entry, entry->connection->receive(packet, payload));
  } else if (ours && op == VsockOp::kRequest) {
    accept_from_guest(packet);
  } else if (op != VsockOp::kRst) {
    resets_.push_back(reset_for(packet));
  }
}

void Muxer::accept_from_guest(const VsockHeader& packet) {
  std::filesystem::path path = guest_connect_base_;
  path += "_" + std::to_string(packet.dst_port);
  Entry* entry = nullptr;
  if (connections_.size() < kMaxConnections) {
    if (auto socket = connect_unix(path)) {
      entry = add({packet.dst_port, packet.src_port}, Origin::kGuest, std::move(*socket));
    }
  }
  if (entry == nullptr) {
    resets_.push_back(reset_for(packet));
    return;
  }
  entry->connection->take_request(packet);
  update_turn(*entry);
}

// ---- host to guest ----

Result<bool> Muxer::offer_packets(Virtqueue& queue) {
  size_t moved = 0;
  while (!resets_.empty()) {
    const bool was_full = resets_.size() >= kMaxResets;
    KATA_TRY(const bool room, offer_control(queue, [this] { return resets_.front(); }));
    if (!room) return false;
    resets_.pop_front();
    // Taking packets had stopped for this.
    if (was_full) return true;
  }
  while (!ready_.empty()) {
    if (moved >= kServiceBytes) return true;
    Entry& entry = *ready_.front();
    KATA_TRY(const bool room, offer_turn(queue, *entry.connection, moved));
    if (!room) return false;
    ready_.splice(ready_.end(), ready_, entry.turn);
    update_turn(entry);
    publish_offered(queue);
  }
  return false;
}

Result<bool> Muxer::offer_turn(Virtqueue& queue, Connection& connection, size_t& moved) {
  if (connection.has_control()) {
    moved += sizeof(VsockHeader);
    return offer_control(queue, [&connection] { return connection.next_control(); });
  }
  if (connection.wants_read()) return offer_data(queue, connection, moved);
  return true;
}

Result<bool> Muxer::offer_control(Virtqueue& queue, const auto& make_header) {
  KATA_TRY(const bool room, take_buffer(queue, packet_chain_));
  if (!room) return false;
  write_header(packet_chain_.ranges, make_header());
  queue.push(packet_chain_.head, sizeof(VsockHeader));
  return true;
}

Result<bool> Muxer::offer_data(Virtqueue& queue, Connection& connection, size_t& moved) {
  const size_t wanted = std::min<size_t>(connection.credit(), kTurnBytes);
  KATA_TRY(const size_t count, gather_buffers(queue, wanted));
  if (count == 0) return false;
  size_t left = connection.read(ranges_);
  moved += left;
  size_t used = 0;
  for (; used < count && left > 0; ++used) {
    const size_t part = std::min(left, capacities_[used]);
    const DescriptorChain& buffer = buffers_[used];
    write_header(buffer.ranges, connection.data_header(static_cast<uint32_t>(part)));
    queue.push(buffer.head, static_cast<uint32_t>(sizeof(VsockHeader) + part));
    left -= part;
  }
  queue.unpop(static_cast<uint16_t>(count - used));
  return true;
}

// Collects receive buffers for up to `wanted` bytes of payload; ranges_ then holds their payload
// parts, cut to `wanted`. Returns how many there are.
Result<size_t> Muxer::gather_buffers(Virtqueue& queue, size_t wanted) {
  buffers_.resize(kBatchBuffers);
  capacities_.clear();
  ranges_.clear();
  size_t count = 0;
  while (count < kBatchBuffers && wanted > 0) {
    DescriptorChain& buffer = buffers_[count];
    if (count == 0) {
      KATA_TRY(const bool room, take_buffer(queue, buffer));
      if (!room) break;
    } else {
      KATA_TRY(const bool popped, queue.pop(buffer));
      if (!popped) break;
      if (ranges_.size() + buffer.ranges.size() > kMaxChainRanges) {
        queue.unpop(1);
        break;
      }
      if (buffer.size <= sizeof(VsockHeader)) {
        return fail(Code::kInvalidArgument, "a receive buffer of {} bytes", buffer.size);
      }
    }
    const size_t part = std::min<uint64_t>(wanted, buffer.size - sizeof(VsockHeader));
    slice(buffer.ranges, sizeof(VsockHeader), part, ranges_);
    capacities_.push_back(part);
    wanted -= part;
    ++count;
  }
  return count;
}

// The next receive buffer; false, and a kick is asked for, when there is none.
Result<bool> Muxer::take_buffer(Virtqueue& queue, DescriptorChain& chain) {
  do {
    KATA_TRY(const bool popped, queue.pop(chain));
    if (!popped) continue;
    if (chain.size <= sizeof(VsockHeader)) {
      return fail(Code::kInvalidArgument, "a receive buffer of {} bytes", chain.size);
    }
    queue.disable_kicks();
    return true;
  } while (queue.enable_kicks());
  return false;
}

// ---- connections ----

void Muxer::connect_to_guest(UniqueFd socket, uint32_t port) {
  const uint32_t host_port = free_host_port(port);
  if (session_ == nullptr || host_port == 0 || connections_.size() >= kMaxConnections) return;
  Entry* entry = add({host_port, port}, Origin::kHost, std::move(socket));
  if (entry != nullptr) update_turn(*entry);
}

uint32_t Muxer::free_host_port(uint32_t guest_port) {
  // More ports than connections: the loop ends early.
  for (size_t tries = 0; tries <= kMaxConnections; ++tries) {
    const uint32_t port = next_host_port_;
    next_host_port_ = port == kLastHostPort ? kFirstHostPort : port + 1;
    if (find({port, guest_port}) == nullptr) return port;
  }
  return 0;
}

Muxer::Entry* Muxer::find(const ConnectionKey& key) {
  const auto id = ids_.find(key);
  return id == ids_.end() ? nullptr : &connections_.at(id->second);
}

Muxer::Entry* Muxer::add(ConnectionKey key, Origin origin, UniqueFd socket) {
  const uint32_t id = next_id_++;
  const EventToken token{EventToken::Kind::kConnection, id};
  // A host client's socket is in the loop already, as a handshake.
  const Status registered = origin == Origin::kHost
                                ? loop_.modify(socket.get(), kConnectionEvents, token)
                                : loop_.add(socket.get(), kConnectionEvents, token);
  if (!registered) return nullptr;
  Entry entry{std::make_unique<Connection>(id, key, origin, std::move(socket), guest_cid_,
                                           buffer_bytes(connections_.size())),
              ready_.end()};
  ids_.emplace(key, id);
  return &connections_.emplace(id, std::move(entry)).first->second;
}

void Muxer::on_socket_events(uint32_t connection_id, uint32_t events) {
  const auto found = connections_.find(connection_id);
  if (found == connections_.end()) return;
  Entry& entry = found->second;
  const Connection::Verdict verdict = entry.connection->on_socket_events(events);
  if (entry.connection->drained()) {
    erase(entry);
  } else {
    settle(entry, verdict);
  }
}

void Muxer::settle(Entry& entry, Connection::Verdict verdict) {
  switch (verdict) {
    case Connection::Verdict::kOpen:
      update_turn(entry);
      break;
    case Connection::Verdict::kClosed:
      end(entry, true, true);
      break;
    case Connection::Verdict::kReset:
      end(entry, false, true);
      break;
    case Connection::Verdict::kViolation:
    case Connection::Verdict::kAbandoned:
      end(entry, true, false);
      break;
  }
}

void Muxer::end(Entry& entry, bool tell_guest, bool deliver) {
  const ConnectionKey key = entry.connection->key();
  if (tell_guest) {
    VsockHeader reset;
    reset.src_cid = kHostCid;
    reset.dst_cid = guest_cid_;
    reset.src_port = key.host_port;
    reset.dst_port = key.guest_port;
    reset.op = static_cast<uint16_t>(VsockOp::kRst);
    resets_.push_back(reset);
  }
  if (entry.in_guest) ids_.erase(key);
  entry.in_guest = false;
  if (!deliver || !entry.connection->begin_draining()) {
    erase(entry);
  } else {
    update_turn(entry);
  }
}

void Muxer::erase(Entry& entry) {
  if (entry.turn != ready_.end()) ready_.erase(entry.turn);
  if (entry.in_guest) ids_.erase(entry.connection->key());
  connections_.erase(entry.connection->id());
}

void Muxer::update_turn(Entry& entry) {
  const bool queued = entry.turn != ready_.end();
  const bool wanted = entry.in_guest && entry.connection->has_output();
  if (wanted && !queued) entry.turn = ready_.insert(ready_.end(), &entry);
  if (!wanted && queued) {
    ready_.erase(entry.turn);
    entry.turn = ready_.end();
  }
}

void Muxer::close_connections() {
  resets_.clear();
  for (auto next = connections_.begin(); next != connections_.end();) {
    Entry& entry = (next++)->second;
    if (entry.in_guest) end(entry, false, true);
  }
}

void Muxer::detach() {
  close_connections();
  session_ = nullptr;
}

}  // namespace kata::vsock
