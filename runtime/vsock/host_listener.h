// The socket on which host processes ask for connections to the guest, as with Firecracker's and
// Cloud Hypervisor's hybrid vsock: the client writes "CONNECT <port>\n" and reads
// "OK <assigned host port>\n"; then the stream is the guest's. End of file instead of the answer
// means that nobody listens on that port.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "runtime/vsock/event_loop.h"
#include "runtime/vsock/unix_socket.h"

namespace kata::vsock {

/// The port of a line "CONNECT <port>" without its line end.
std::optional<uint32_t> parse_connect(std::string_view line);

/// Owns the listening socket and the clients whose line is not complete yet. Borrows the
/// loop. Used on one thread.
class HostListener {
 public:
  struct Request {
    /// Connected, non-blocking, still registered with the loop.
    UniqueFd socket;
    uint32_t port = 0;
  };

  static Result<HostListener> open(EventLoop& loop, const std::filesystem::path& path);

  /// Takes the clients that wait. Call on events of Kind::kHostListener.
  void accept_clients();
  /// Call on events of Kind::kHandshake: the request when the client's line is complete. A client
  /// that writes anything else is dropped.
  std::optional<Request> advance(uint32_t handshake_id, uint32_t events);

 private:
  HostListener(EventLoop& loop, UnixListener listener)
      : loop_(&loop), listener_(std::move(listener)) {}

  EventLoop* loop_;
  UnixListener listener_;
  std::unordered_map<uint32_t, UniqueFd> handshakes_;
  uint32_t next_id_ = 0;
};

}  // namespace kata::vsock
