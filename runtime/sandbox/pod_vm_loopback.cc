// The part of PodVm that joins connections to the loopback of the pod's namespace on the host with
// the guest's loopback, where the pod's servers are.
#include <array>
#include <chrono>
#include <span>

#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/agent_protocol.h"
#include "common/log/log.h"
#include "runtime/sandbox/pod_vm.h"

namespace kata::sandbox {
namespace {

using Stream = asio::posix::stream_descriptor;
using boost::system::error_code;

/// As many as the agent serves.
constexpr size_t kMaxForwarded = 64;
constexpr size_t kCopiedAtOnce = 16UL * 1024;
constexpr std::chrono::seconds kAcceptPause{1};
/// A guest that says nothing must not keep a place from the others.
constexpr std::chrono::seconds kAnswerLimit{30};

/// In network byte order; 0 when the kernel does not say.
in_port_t port_of(const UniqueFd& client) {
  sockaddr_in6 address{};
  socklen_t size = sizeof address;
  if (::getsockname(client.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return address.sin6_port;
}

/// Its closing is a reset then, as of a port where nobody listens.
void refuse(Stream& client) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(client.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

/// Until one of them has had enough. The end of what `from` says is told to `to`; whoever does not
/// listen any more is the end of both.
asio::awaitable<void> copy(Stream& from, Stream& to) {
  std::array<char, kCopiedAtOnce> buffer;
  while (true) {
    error_code error;
    const size_t got = co_await from.async_read_some(
        asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::eof) break;
    if (error) {
      // Gone, and not only silent: a server that ignores a half-close would be waited for.
      ::shutdown(to.native_handle(), SHUT_RDWR);
      co_return;
    }
    co_await asio::async_write(to, asio::buffer(buffer.data(), got),
                               asio::redirect_error(asio::use_awaitable, error));
    if (!error) continue;
    ::shutdown(from.native_handle(), SHUT_RDWR);
    break;
  }
  ::shutdown(to.native_handle(), SHUT_WR);
}

/// Whether the guest has such a server, and is connected with it.
asio::awaitable<bool> ask_for(Stream& guest, in_port_t port) {
  error_code error;
  co_await asio::async_write(guest, asio::buffer(&port, sizeof port),
                             asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return false;
  char answer = 0;
  co_await asio::async_read(guest, asio::buffer(&answer, sizeof answer),
                            asio::redirect_error(asio::use_awaitable, error));
  co_return !error && answer == kLoopbackConnected;
}

}  // namespace

asio::awaitable<void> PodVm::follow_loopback() {
  auto self = shared_from_this();
  while (loopback_->is_open()) {
    error_code error;
    co_await loopback_->async_wait(Stream::wait_read,
                                   asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    UniqueFd client(
        ::accept4(loopback_->native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client) {
      // Of the shim's descriptors none is free: the connection waits, and so does this.
      asio::steady_timer pause(executor_, kAcceptPause);
      co_await pause.async_wait(asio::use_awaitable);
      continue;
    }
    if (forwarded_ < kMaxForwarded)
      asio::co_spawn(executor_, forward(std::move(client)), asio::detached);
    else
      log::warning("refused a connection to the pod's loopback: there are too many");
  }
}

asio::awaitable<void> PodVm::forward(UniqueFd client_fd) {
  using namespace asio::experimental::awaitable_operators;
  auto self = shared_from_this();
  ++forwarded_;
  const in_port_t port = port_of(client_fd);
  Stream client(executor_, client_fd.release());
  auto dialed = co_await dial(kLoopbackPort);
  if (dialed && !stopping_) {
    Stream guest(executor_, dialed->release());
    asio::steady_timer limit(executor_, kAnswerLimit);
    const auto first = co_await (ask_for(guest, port) || limit.async_wait(asio::use_awaitable));
    const bool is_connected = first.index() == 0 && std::get<0>(first);
    // Nobody waits for a client when the VM has gone.
    if (is_connected)
      co_await ((copy(client, guest) && copy(guest, client)) || gone_.wait());
    else
      refuse(client);
  } else {
    refuse(client);
  }
  --forwarded_;
}

}  // namespace kata::sandbox
