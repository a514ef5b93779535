// AF_UNIX stream sockets by path (unix(7)).
#pragma once

#include <filesystem>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::sys {

/// Binds and listens at `path` with mode 0600: non-blocking, close-on-exec. The path must not
/// exist. InvalidArgument: longer than sun_path's 107 bytes. AlreadyExists: something is there.
Result<UniqueFd> listen_unix(const std::filesystem::path& path, int backlog = 16);

/// Where a listening socket was bound. InvalidArgument: it has no path.
Result<std::filesystem::path> bound_path(int listener);

/// Connects, blocking only as long as the kernel's accept queue is full; the socket is
/// close-on-exec and blocking. NotFound: no such socket. Unavailable: nobody listens.
Result<UniqueFd> connect_unix(const std::filesystem::path& path);

}  // namespace kata::sys
