#include "runtime/vsock/unix_socket.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/log/log.h"

namespace kata::vsock {
namespace {

// Many streams are dialled at once when a pod starts; the kernel cuts this to somaxconn.
constexpr int kBacklog = 1024;

bool fill(sockaddr_un& address, const std::filesystem::path& path) {
  const std::string& text = path.native();
  if (text.empty() || text.size() >= sizeof(address.sun_path)) return false;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  return true;
}

// Connecting a datagram socket to a live stream socket fails with EPROTOTYPE: that shows a listener
// without disturbing it.
bool is_listening(const sockaddr_un& address) {
  const UniqueFd probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) ==
             0 ||
         errno == EPROTOTYPE;
}

}  // namespace

Result<UniqueFd> listen_unix(const std::filesystem::path& path) {
  sockaddr_un address{};
  if (!fill(address, path)) {
    return fail(Code::kInvalidArgument,
                "socket path {} has {} bytes, at most {} are possible: use a shorter state "
                "directory",
                path.native(), path.native().size(), sizeof(address.sun_path) - 1);
  }
  if (is_listening(address)) {
    return fail(Code::kAlreadyExists, "{} is in use: somebody listens there", path.native());
  }
  ::unlink(path.c_str());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("create a unix socket");
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno("bind " + path.native());
  }
  if (::listen(fd.get(), kBacklog) != 0) return fail_errno("listen at " + path.native());
  return fd;
}

Result<UnixListener> UnixListener::open(const std::filesystem::path& path) {
  UnixListener listener;
  KATA_TRY(listener.socket_, listen_unix(path));
  listener.spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return listener;
}

UniqueFd UnixListener::accept() {
  while (true) {
    UniqueFd client(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (client || (errno != EMFILE && errno != ENFILE) || !spare_) return client;
    log::error("out of file descriptors: a vsock client is turned away");
    spare_.reset();
    UniqueFd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)).reset();
    spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
}

std::expected<UniqueFd, int> connect_unix(const std::filesystem::path& path) {
  sockaddr_un address{};
  if (!fill(address, path)) return std::unexpected(ENAMETOOLONG);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return std::unexpected(errno);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return std::unexpected(errno);
  }
  return fd;
}

}  // namespace kata::vsock
