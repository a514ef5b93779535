// Where the host connects: the agent's control connection and one connection per stdio stream.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::sandbox {

/// One listening, non-blocking socket. Destruction ends the offer.
class StreamListener {
 public:
  virtual ~StreamListener() = default;

  /// For epoll; borrowed.
  virtual int descriptor() const = 0;
  virtual uint32_t port() const = 0;

  /// The next waiting connection of the host, non-blocking; an empty descriptor when none waits.
  /// Connections of anyone else are closed and skipped.
  virtual Result<UniqueFd> accept() = 0;
};

/// Makes listeners. Any thread.
class ListenerFactory {
 public:
  virtual ~ListenerFactory() = default;

  /// `port` 0: any free one.
  virtual Result<std::unique_ptr<StreamListener>> listen(uint32_t port) = 0;
};

/// AF_VSOCK (vsock(7)); accepts connections of the host (CID 2) only: a process of the guest could
/// reach the ports through the guest's own CID.
std::unique_ptr<ListenerFactory> make_vsock_listeners();

/// For an agent that runs as an ordinary process: port N is the socket <directory>/<N>.
std::unique_ptr<ListenerFactory> make_unix_listeners(std::filesystem::path directory);

/// The socket `path` itself as a listener of port 0.
Result<std::unique_ptr<StreamListener>> listen_at(const std::filesystem::path& path);

}  // namespace kata::sandbox
