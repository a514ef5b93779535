// Moves packets between the two virtqueues of a guest and the host sockets of its connections.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "runtime/vsock/connection.h"
#include "runtime/vsock/event_loop.h"
#include "runtime/vsock/pacing.h"
#include "runtime/vsock/vhost_user_session.h"

namespace kata::vsock {

/// Streams of one VM at a time, those included that only wait for a slow host reader.
inline constexpr size_t kMaxConnections = 1024;
/// Host ports of connections that the host makes, as Firecracker counts them.
inline constexpr uint32_t kFirstHostPort = 1U << 30;

/// Owns the connections; borrows the loop and, while attached, the session. Used on one thread.
///
/// Fairness: connections with something for the guest take turns of at most kTurnBytes; packets of
/// the guest are taken in order, and none waits for a host reader, because what a socket does not
/// take is buffered within the credit that the guest was given.
class Muxer {
 public:
  /// A guest's connection to port P is offered at "<guest_connect_base>_P".
  Muxer(EventLoop& loop, std::filesystem::path guest_connect_base, uint64_t guest_cid)
      : loop_(loop), guest_connect_base_(std::move(guest_connect_base)), guest_cid_(guest_cid) {}
  Muxer(const Muxer&) = delete;
  Muxer& operator=(const Muxer&) = delete;

  /// The session must be detached before it goes.
  void attach(VhostUserSession* session) { session_ = session; }
  /// Ends all connections; what the guest has sent is still delivered to the host.
  void detach();
  bool attached() const { return session_ != nullptr; }

  /// Asks the guest for a connection to `port`. `socket` is registered with the loop as a
  /// handshake; it gets "OK <host port>\n" or end of file.
  void connect_to_guest(UniqueFd socket, uint32_t port);
  void on_socket_events(uint32_t connection_id, uint32_t events);
  void close_connections();

  /// Moves what can be moved now. True when there is more to do, so that the caller should only
  /// look for events and come back. An error means that the driver broke the rules of its queues.
  Result<bool> service();
  /// Then service() has to be called even if nothing happens.
  std::optional<PaceClock::time_point> next_service() const {
    return earlier(taken_interrupt_.due(), look_.next());
  }
  /// The transmit queue is about to stop: the guest gets the interrupt that it may still want.
  void send_taken_interrupt();

 private:
  struct KeyHash {
    size_t operator()(const ConnectionKey& key) const {
      return std::hash<uint64_t>()(static_cast<uint64_t>(key.host_port) << 32 | key.guest_port);
    }
  };
  struct Entry {
    std::unique_ptr<Connection> connection;
    /// Position in ready_, or ready_.end().
    std::list<Entry*>::iterator turn;
    /// False once the guest's side is gone and only bytes for the host remain.
    bool in_guest = true;
  };

  // Guest to host.
  Result<bool> take_packets(Virtqueue& queue);
  Status take_packet(const DescriptorChain& chain);
  void dispatch(const VsockHeader& packet, std::span<const iovec> payload);
  void accept_from_guest(const VsockHeader& packet);

  // Host to guest.
  Result<bool> offer_packets(Virtqueue& queue);
  Result<bool> offer_turn(Virtqueue& queue, Connection& connection, size_t& moved);
  Result<bool> offer_control(Virtqueue& queue, const auto& make_header);
  Result<bool> offer_data(Virtqueue& queue, Connection& connection, size_t& moved);
  Result<bool> take_buffer(Virtqueue& queue, DescriptorChain& chain);
  Result<size_t> gather_buffers(Virtqueue& queue, size_t wanted);

  Entry* find(const ConnectionKey& key);
  Entry* add(ConnectionKey key, Origin origin, UniqueFd socket);
  uint32_t free_host_port(uint32_t guest_port);
  void settle(Entry& entry, Connection::Verdict verdict);
  void end(Entry& entry, bool tell_guest, bool deliver);
  void erase(Entry& entry);
  void update_turn(Entry& entry);
  void publish_taken(Virtqueue& queue);
  void publish_offered(Virtqueue& queue);

  EventLoop& loop_;
  const std::filesystem::path guest_connect_base_;
  const uint64_t guest_cid_;
  VhostUserSession* session_ = nullptr;

  std::unordered_map<uint32_t, Entry> connections_;
  std::unordered_map<ConnectionKey, uint32_t, KeyHash> ids_;
  /// Connections that have something for the guest, in the order of their turns.
  std::list<Entry*> ready_;
  /// Resets that belong to no connection (any more).
  std::deque<VsockHeader> resets_;
  DelayedInterrupt taken_interrupt_;
  QueueLook look_;
  uint32_t next_id_ = 0;
  uint32_t next_host_port_ = kFirstHostPort;

  // Scratch space, kept so that steady traffic allocates nothing.
  DescriptorChain packet_chain_;
  std::vector<DescriptorChain> buffers_;
  std::vector<size_t> capacities_;
  std::vector<iovec> ranges_;
};

}  // namespace kata::vsock
