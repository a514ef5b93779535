// One vsock stream: a guest socket on one side, a host AF_UNIX socket on the other.
// Protocol: virtio 1.2 section 5.10.6.
//
// Both directions have credit. The guest may have `buffer_bytes` on the way to the host socket,
// which is all that is ever buffered here; what it receives stays within what it says it has room
// for.
#pragma once

#include <cstdint>
#include <span>

#include <sys/uio.h>

#include "common/base/unique_fd.h"
#include "runtime/vsock/byte_queue.h"
#include "runtime/vsock/vsock_packet.h"

namespace kata::vsock {

/// Identifies a stream in its VM, because host and guest CIDs are fixed.
struct ConnectionKey {
  uint32_t host_port = 0;
  uint32_t guest_port = 0;
  bool operator==(const ConnectionKey&) const = default;
};

/// Who asked for the connection.
enum class Origin {
  /// A host process, by CONNECT: a request goes to the guest, "OK <port>" to the host.
  kHost,
  /// The guest: its request is answered with a response.
  kGuest,
};

/// Owns the host socket. Never blocks. Used on one thread.
class Connection {
 public:
  Connection(uint32_t id, ConnectionKey key, Origin origin, UniqueFd socket, uint64_t guest_cid,
             uint32_t buffer_bytes);

  uint32_t id() const { return id_; }
  ConnectionKey key() const { return key_; }
  int socket() const { return socket_.get(); }

  enum class Verdict {
    kOpen,
    /// The guest has closed; it waits for a reset as confirmation.
    kClosed,
    /// The guest has reset the connection.
    kReset,
    /// The guest broke the protocol of this stream: reset it.
    kViolation,
    /// The host side has gone before the connection was made.
    kAbandoned,
  };

  /// Takes the credit in the request that made a connection of Origin::kGuest.
  void take_request(const VsockHeader& packet) { peer_buffer_ = packet.buf_alloc; }
  /// Takes a later packet of the guest; `payload` holds packet.len bytes for kRw.
  Verdict receive(const VsockHeader& packet, std::span<const iovec> payload);

  /// Takes the epoll events of the host socket.
  Verdict on_socket_events(uint32_t events);

  /// Whether a packet without payload, or data from the host, should go to the guest now.
  bool has_control() const;
  bool wants_read();
  /// In this order: a stalled read makes a credit request due.
  bool has_output() { return wants_read() || has_control(); }

  /// The next packet without payload. Legal only if has_control().
  VsockHeader next_control();
  /// Bytes that the guest has room for.
  uint32_t credit() const;
  /// Reads host data into `ranges`, which hold at most credit() bytes. 0 when there is none for now
  /// or ever again; has_output() tells what is next.
  size_t read(std::span<const iovec> ranges);
  /// The header for `length` of the bytes that read() returned.
  VsockHeader data_header(uint32_t length);

  /// Cuts the connection off the guest. True when bytes from the guest remain to be written to the
  /// host: keep it and feed it socket events until drained().
  bool begin_draining();
  bool drained() const { return state_ == State::kDraining && pending_.empty(); }

 private:
  enum class State { kRequestDue, kRequestSent, kEstablished, kDraining };

  bool update_peer_credit(const VsockHeader& packet);
  Verdict on_response();
  Verdict on_data(const VsockHeader& packet, std::span<const iovec> payload);
  Verdict on_shutdown(uint32_t flags);
  void write_pending();
  /// Writes as much as the socket takes now; less than asked for means that it is full or dead.
  size_t write_some(std::span<const iovec> ranges);
  void forwarded(size_t bytes);
  void finish_writing_if_due();
  void host_stopped_reading();
  VsockHeader header(VsockOp op);

  const uint32_t id_;
  const ConnectionKey key_;
  const uint64_t guest_cid_;
  const uint32_t buffer_bytes_;
  State state_;
  UniqueFd socket_;

  // Guest to host.
  ByteQueue pending_;
  uint32_t received_ = 0;        // bytes that the guest has sent, modulo 2^32
  uint32_t forwarded_ = 0;       // of these, written to the host socket (fwd_cnt)
  uint32_t last_forwarded_ = 0;  // fwd_cnt of the last packet to the guest
  uint32_t guest_shutdown_ = 0;
  bool writable_ = true;
  bool host_reads_ = true;
  bool write_shut_ = false;

  // Host to guest.
  uint32_t sent_ = 0;            // bytes sent to the guest, modulo 2^32
  uint32_t peer_buffer_ = 0;     // the guest's buf_alloc
  uint32_t peer_forwarded_ = 0;  // the guest's fwd_cnt
  bool readable_ = false;
  bool host_sends_ = true;

  // Packets that are due.
  bool response_due_ = false;
  bool credit_update_due_ = false;
  bool credit_request_due_ = false;
  bool credit_requested_ = false;
  uint32_t shutdown_due_ = 0;
  uint32_t shutdown_sent_ = 0;
};

}  // namespace kata::vsock
