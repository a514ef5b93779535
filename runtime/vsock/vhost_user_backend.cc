#include "runtime/vsock/vhost_user_backend.h"

#include <cerrno>
#include <csignal>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/vsock/unix_socket.h"

namespace kata::vsock {
namespace {

constexpr std::string_view kFrontEndSocket = "vhost-vsock.sock";
constexpr std::string_view kHostSocket = "vsock.sock";
constexpr std::string_view kAnswerWord = "OK ";
/// The word, ten digits and the line end.
constexpr size_t kMaxAnswerBytes = kAnswerWord.size() + 10 + 1;

// Signals are for the threads of the shim that expect them.
std::thread start_without_signals(auto body) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(body));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_setname_np(thread.native_handle(), "vsock");
  return thread;
}

// Takes the line "OK <port>\n", which the device writes in one piece, off the socket, and nothing
// of the stream behind it. False when it has not come yet.
Result<bool> take_answer(int socket, uint32_t port) {
  char text[kMaxAnswerBytes];
  ssize_t read;
  do {
    read = ::recv(socket, text, sizeof(text), MSG_PEEK | MSG_DONTWAIT);
  } while (read < 0 && errno == EINTR);
  if (read < 0 && errno == EAGAIN) return false;
  if (read <= 0) {
    return fail(Code::kUnavailable,
                "connect to vsock port {} of the guest: nobody listens there, or the VM is gone",
                port);
  }
  const std::string_view seen(text, static_cast<size_t>(read));
  const size_t end = seen.find('\n');
  if (end == std::string_view::npos || !seen.starts_with(kAnswerWord)) {
    return fail(Code::kInternal, "connect to vsock port {}: the answer is not OK <port>", port);
  }
  ::recv(socket, text, end + 1, MSG_DONTWAIT);
  return true;
}

// The device connects from a thread of this process; anybody else who reaches the socket is not the
// guest.
bool is_from_this_process(const UniqueFd& client) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  return ::getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
         peer.pid == ::getpid();
}

}  // namespace

Result<std::unique_ptr<VhostUserBackend>> VhostUserBackend::open(
    asio::any_io_executor executor, const std::filesystem::path& run_dir,
    std::chrono::milliseconds dial_timeout) {
  DeviceSockets sockets{run_dir / kFrontEndSocket, run_dir / kHostSocket};
  std::unique_ptr<VhostUserBackend> backend(
      new VhostUserBackend(std::move(executor), sockets, dial_timeout));
  backend->stop_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!backend->stop_) return fail_errno("create an eventfd");
  KATA_TRY(backend->device_, Device::create(sockets));
  backend->thread_ = start_without_signals(
      [device = backend->device_.get(), stop = backend->stop_.get()] { device->run(stop); });
  return backend;
}

VhostUserBackend::~VhostUserBackend() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    [[maybe_unused]] ssize_t written = ::write(stop_.get(), &one, sizeof(one));
    thread_.join();
  }
  for (uint32_t port : listened_ports_) ::unlink(listener_path(port).c_str());
}

Async<UniqueFd> VhostUserBackend::dial(uint32_t port) {
  auto socket = connect_unix(sockets_.host);
  if (!socket) co_return fail_errno("connect to " + sockets_.host.native(), socket.error());
  SocketWaiter waiter(executor_, *std::move(socket), dial_timeout_);
  const std::string line = fmt::format("CONNECT {}\n", port);
  const ssize_t sent = ::send(waiter.fd(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(line.size())) {
    co_return fail(Code::kUnavailable, "connect to vsock port {}: the device is gone", port);
  }
  while (true) {
    Status ready = co_await waiter.wait(SocketWaiter::For::kReadable);
    if (!ready) {
      co_return std::unexpected(
          ready.error().with_stage(fmt::format("connect to vsock port {} of the guest", port)));
    }
    auto answered = take_answer(waiter.fd(), port);
    if (!answered) co_return std::unexpected(answered.error());
    if (*answered) co_return waiter.release();
  }
}

std::filesystem::path VhostUserBackend::listener_path(uint32_t port) const {
  std::filesystem::path path = sockets_.host;
  path += fmt::format("_{}", port);
  return path;
}

Result<UniqueFd> VhostUserBackend::listen(uint32_t port) {
  KATA_TRY(UniqueFd listener, listen_unix(listener_path(port)));
  listened_ports_.insert(port);
  return listener;
}

Async<UniqueFd> VhostUserBackend::accept_from_guest(const UniqueFd& listener) {
  // A descriptor of its own, so that the caller may close the listener at any time.
  UniqueFd copy(::fcntl(listener.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) co_return fail_errno("duplicate a vsock listener");
  SocketWaiter waiter(executor_, std::move(copy), std::chrono::milliseconds::zero());
  while (true) {
    UniqueFd client(::accept4(waiter.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (client && is_from_this_process(client)) co_return client;
    if (client) continue;
    if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
      co_return fail_errno("accept a vsock connection of the guest");
    }
    Status ready = co_await waiter.wait(SocketWaiter::For::kReadable);
    if (!ready) co_return std::unexpected(ready.error());
  }
}

Result<std::unique_ptr<Backend>> open_vhost_user(asio::any_io_executor executor,
                                                 const std::filesystem::path& run_dir) {
  KATA_TRY(std::unique_ptr<Backend> backend, VhostUserBackend::open(std::move(executor), run_dir));
  return backend;
}

}  // namespace kata::vsock
