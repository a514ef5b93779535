// Messages of one vhost-user connection: framing and descriptor passing.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include <sys/socket.h>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "runtime/vsock/vhost_user_protocol.h"

namespace kata::vsock {

/// One received request: its payload is complete, its descriptors are owned.
struct VhostUserMessage {
  uint32_t request = 0;
  uint32_t flags = 0;
  std::vector<uint8_t> payload;
  std::vector<UniqueFd> fds;

  /// The payload as T when it has exactly T's size.
  template <typename T>
  std::optional<T> as() const {
    if (payload.size() != sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, payload.data(), sizeof(T));
    return value;
  }
};

/// Owns the connected, non-blocking socket. Used on one thread. An error means that the peer broke
/// the protocol or is gone; the connection is of no more use then.
class VhostUserSocket {
 public:
  explicit VhostUserSocket(UniqueFd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }

  /// The next complete message; nullopt when more bytes must arrive first.
  /// Unavailable: the peer closed. InvalidArgument: bad version, size or descriptors.
  Result<std::optional<VhostUserMessage>> receive();

  /// Answers `request`. Never blocks: a peer that lets a socket buffer of replies pile up is
  /// broken.
  Status reply(uint32_t request, std::span<const uint8_t> payload);

 private:
  /// Reads up to `missing` bytes and takes the descriptors that come along; 0 when it would block.
  Result<size_t> read_some(uint8_t* target, size_t missing);
  Status take_fds(const msghdr& message);
  Status check_header();

  UniqueFd fd_;
  VhostUserHeader header_{};
  size_t header_bytes_ = 0;
  size_t payload_bytes_ = 0;
  VhostUserMessage message_;
};

}  // namespace kata::vsock
