#include "common/sys/unix_socket.h"

#include <cstring>
#include <string>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace kata::sys {
namespace {

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& text = path.native();
  if (text.empty() || text.size() >= sizeof(address.sun_path))
    return fail(Code::kInvalidArgument,
                "socket path \"{}\" has {} bytes, 1 to {} are possible: use a shorter state root",
                text, text.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path, text.data(), text.size());
  return address;
}

}  // namespace

Result<UniqueFd> listen_unix(const std::filesystem::path& path, int backlog) {
  KATA_TRY(const sockaddr_un address, address_of(path));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("create a unix socket");
  // The mode of the socket's inode is what fchmod before bind says: no moment with wider access.
  if (fchmod(fd.get(), 0600) != 0) return fail_errno("set the mode of a unix socket");
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    int error = errno;
    if (error == EADDRINUSE)
      return fail(Code::kAlreadyExists, "listen on {}: the path exists already", path.native());
    return fail_errno(fmt::format("listen on {}", path.native()), error);
  }
  if (listen(fd.get(), backlog) != 0) return fail_errno(fmt::format("listen on {}", path.native()));
  return fd;
}

Result<std::filesystem::path> bound_path(int listener) {
  sockaddr_un address{};
  socklen_t size = sizeof(address);
  if (getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return fail_errno("find the path of a socket");
  if (address.sun_family != AF_UNIX || address.sun_path[0] == '\0')
    return fail(Code::kInvalidArgument, "the listening socket has no path");
  return std::filesystem::path(
      std::string(address.sun_path, strnlen(address.sun_path, sizeof(address.sun_path))));
}

Result<UniqueFd> connect_unix(const std::filesystem::path& path) {
  KATA_TRY(const sockaddr_un address, address_of(path));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("create a unix socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return fail_errno(fmt::format("connect to {}", path.native()));
  return fd;
}

}  // namespace kata::sys
