#include "agent/sandbox/stream_listener.h"

#include <string>
#include <utility>

#include <linux/vm_sockets.h>
#include <sys/socket.h>

#include "common/log/log.h"
#include "common/sys/unix_socket.h"

namespace kata::sandbox {
namespace {

constexpr int kBacklog = 16;

bool nobody_waits(int error_number) {
  // ECONNABORTED: whoever waited has gone again.
  return error_number == EAGAIN || error_number == EINTR || error_number == ECONNABORTED;
}

sockaddr_vm vsock_address(uint32_t cid, uint32_t port) {
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = cid;
  address.svm_port = port;
  return address;
}

class VsockListener : public StreamListener {
 public:
  VsockListener(UniqueFd socket, uint32_t port) : socket_(std::move(socket)), port_(port) {}

  int descriptor() const override { return socket_.get(); }
  uint32_t port() const override { return port_; }

  Result<UniqueFd> accept() override {
    for (;;) {
      sockaddr_vm peer{};
      socklen_t size = sizeof peer;
      UniqueFd connection(accept4(socket_.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                                  SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!connection) {
        if (nobody_waits(errno)) return UniqueFd();
        return fail_errno("accept a vsock connection");
      }
      if (peer.svm_cid == VMADDR_CID_HOST) return connection;
      log::warning("refused a vsock connection that is not the host's",
                   {{"cid", std::to_string(peer.svm_cid)}, {"port", std::to_string(port_)}});
    }
  }

 private:
  UniqueFd socket_;
  uint32_t port_;
};

class VsockListeners : public ListenerFactory {
 public:
  Result<std::unique_ptr<StreamListener>> listen(uint32_t port) override {
    UniqueFd socket(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return fail_errno("make a vsock socket");
    sockaddr_vm address = vsock_address(VMADDR_CID_ANY, port == 0 ? VMADDR_PORT_ANY : port);
    socklen_t size = sizeof address;
    if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
      return fail_errno(fmt::format("bind vsock port {}", port));
    }
    if (::listen(socket.get(), kBacklog) != 0) return fail_errno("listen on a vsock port");
    if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      return fail_errno("ask for the number of a vsock port");
    }
    return std::make_unique<VsockListener>(std::move(socket), address.svm_port);
  }
};

class UnixListener : public StreamListener {
 public:
  UnixListener(UniqueFd socket, uint32_t port, std::filesystem::path path)
      : socket_(std::move(socket)), port_(port), path_(std::move(path)) {}
  ~UnixListener() override {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }

  int descriptor() const override { return socket_.get(); }
  uint32_t port() const override { return port_; }

  Result<UniqueFd> accept() override {
    UniqueFd connection(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connection && !nobody_waits(errno)) return fail_errno("accept a connection");
    return connection;
  }

 private:
  UniqueFd socket_;
  uint32_t port_;
  std::filesystem::path path_;
};

class UnixListeners : public ListenerFactory {
 public:
  explicit UnixListeners(std::filesystem::path directory) : directory_(std::move(directory)) {}

  Result<std::unique_ptr<StreamListener>> listen(uint32_t port) override {
    if (port == 0) port = next_port_++;
    std::filesystem::path path = directory_ / std::to_string(port);
    KATA_TRY(UniqueFd socket, sys::listen_unix(path));
    return std::make_unique<UnixListener>(std::move(socket), port, std::move(path));
  }

 private:
  static constexpr uint32_t kFirstPort = 2000;

  std::filesystem::path directory_;
  std::atomic<uint32_t> next_port_ = kFirstPort;
};

}  // namespace

std::unique_ptr<ListenerFactory> make_vsock_listeners() {
  return std::make_unique<VsockListeners>();
}

std::unique_ptr<ListenerFactory> make_unix_listeners(std::filesystem::path directory) {
  return std::make_unique<UnixListeners>(std::move(directory));
}

Result<std::unique_ptr<StreamListener>> listen_at(const std::filesystem::path& path) {
  KATA_TRY(UniqueFd socket, sys::listen_unix(path));
  return std::make_unique<UnixListener>(std::move(socket), 0, path);
}

}  // namespace kata::sandbox
