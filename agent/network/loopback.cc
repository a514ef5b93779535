#include "agent/network/loopback.h"

#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <system_error>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/agent_protocol.h"
#include "common/log/log.h"

namespace kata::network {
namespace {

/// Two threads each: more than anybody's port-forwards, and little of a guest's memory.
constexpr int kMaxConnections = 64;
constexpr timeval kGreetingLimit{.tv_sec = 10, .tv_usec = 0};
constexpr size_t kCopiedAtOnce = 16UL * 1024;

std::atomic<int> connections = 0;

bool send_all(int socket, std::span<const char> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return true;
}

/// False when the guest has no thread to spare: its containers may use up all of them.
template <typename Work>
bool start_thread(std::thread& thread, Work work) {
  try {
    thread = std::thread(std::move(work));
    return true;
  } catch (const std::system_error& error) {
    log::warning("refused a connection to the loopback", {{"error", error.what()}});
    return false;
  }
}

/// Until one of them has had enough. The end of what `from` says is told to `to`; whoever does not
/// listen any more is the end of both.
void copy(int from, int to) {
  std::array<char, kCopiedAtOnce> buffer;
  while (true) {
    const ssize_t got = ::recv(from, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      // Gone, and not only silent: a server that ignores a half-close would be waited for.
      ::shutdown(to, SHUT_RDWR);
      return;
    }
    if (got == 0) break;
    if (send_all(to, std::span(buffer).first(static_cast<size_t>(got)))) continue;
    ::shutdown(from, SHUT_RDWR);
    break;
  }
  ::shutdown(to, SHUT_WR);
}

template <typename Address>
UniqueFd connect_to(const Address& address, int family) {
  UniqueFd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket &&
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    socket.reset();
  return socket;
}

/// localhost is both: IPv4 first, as clients do it.
UniqueFd connect_to_server(in_port_t port) {
  sockaddr_in address4{};
  address4.sin_family = AF_INET;
  address4.sin_port = port;
  address4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (UniqueFd socket = connect_to(address4, AF_INET)) return socket;
  sockaddr_in6 address6{};
  address6.sin6_family = AF_INET6;
  address6.sin6_port = port;
  address6.sin6_addr = in6addr_loopback;
  return connect_to(address6, AF_INET6);
}

/// 0 where the host says none in time.
in_port_t read_port(int host) {
  in_port_t port = 0;
  ::setsockopt(host, SOL_SOCKET, SO_RCVTIMEO, &kGreetingLimit, sizeof kGreetingLimit);
  if (::recv(host, &port, sizeof port, MSG_WAITALL) != sizeof port) return 0;
  constexpr timeval kForEver{};
  ::setsockopt(host, SOL_SOCKET, SO_RCVTIMEO, &kForEver, sizeof kForEver);
  return port;
}

void serve(int host) {
  // Threads wait for it, not an event loop.
  if (::fcntl(host, F_SETFL, 0) != 0) return;
  const in_port_t port = read_port(host);
  if (port == 0) return;
  const UniqueFd server = connect_to_server(port);
  if (!server || !send_all(host, std::span(&kLoopbackConnected, 1))) return;
  std::thread answers;
  if (!start_thread(answers, [&] { copy(server.get(), host); })) return;
  copy(host, server.get());
  answers.join();
}

}  // namespace

void connect_to_loopback(UniqueFd host) {
  if (connections.fetch_add(1) >= kMaxConnections) {
    connections.fetch_sub(1);
    log::warning("refused a connection to the loopback: there are too many");
    return;
  }
  std::thread served;
  auto serve_and_count = [host = std::make_shared<UniqueFd>(std::move(host))] {
    serve(host->get());
    connections.fetch_sub(1);
  };
  if (start_thread(served, std::move(serve_and_count)))
    served.detach();
  else
    connections.fetch_sub(1);
}

}  // namespace kata::network
