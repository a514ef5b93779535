// AF_UNIX stream sockets by path.
#pragma once

#include <filesystem>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::vsock {

/// Listens at `path`: close-on-exec, non-blocking. A socket file whose owner is gone is replaced.
/// AlreadyExists: somebody listens there. InvalidArgument: the path is longer than sun_path.
Result<UniqueFd> listen_unix(const std::filesystem::path& path);

/// A listening socket for an event loop that waits until it is readable. Used on one thread.
class UnixListener {
 public:
  static Result<UnixListener> open(const std::filesystem::path& path);

  int fd() const { return socket_.get(); }
  /// The next waiting client, non-blocking; no descriptor when there is none. A process that has
  /// run out of descriptors turns the waiting clients away, else they would wake it for ever.
  UniqueFd accept();

 private:
  UniqueFd socket_;
  /// Given up for a moment to turn clients away.
  UniqueFd spare_;
};

/// Connects to `path`: close-on-exec, non-blocking, connected on return. The raw errno where it
/// failed, because the callers tell ENOENT and ECONNREFUSED apart from the rest.
std::expected<UniqueFd, int> connect_unix(const std::filesystem::path& path);

}  // namespace kata::vsock
