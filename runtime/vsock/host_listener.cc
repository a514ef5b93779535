#include "runtime/vsock/host_listener.h"

#include <cerrno>
#include <charconv>

#include <sys/epoll.h>
#include <sys/socket.h>

namespace kata::vsock {
namespace {

constexpr std::string_view kConnectWord = "CONNECT ";
/// The word, ten digits and the line end.
constexpr size_t kMaxLineBytes = kConnectWord.size() + 10 + 1;
constexpr size_t kMaxHandshakes = 256;

}  // namespace

std::optional<uint32_t> parse_connect(std::string_view line) {
  if (!line.starts_with(kConnectWord)) return std::nullopt;
  line.remove_prefix(kConnectWord.size());
  uint32_t port = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), port);
  if (error != std::errc() || end != line.data() + line.size()) return std::nullopt;
  return port;
}

Result<HostListener> HostListener::open(EventLoop& loop, const std::filesystem::path& path) {
  KATA_TRY(UnixListener listener, UnixListener::open(path));
  KATA_CHECK(loop.add(listener.fd(), EPOLLIN, {EventToken::Kind::kHostListener}));
  return HostListener(loop, std::move(listener));
}

void HostListener::accept_clients() {
  while (UniqueFd client = listener_.accept()) {
    if (handshakes_.size() >= kMaxHandshakes) continue;
    const uint32_t id = next_id_++;
    const uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET;
    if (loop_->add(client.get(), events, {EventToken::Kind::kHandshake, id})) {
      handshakes_.emplace(id, std::move(client));
    }
  }
}

std::optional<HostListener::Request> HostListener::advance(uint32_t handshake_id, uint32_t events) {
  const auto found = handshakes_.find(handshake_id);
  if (found == handshakes_.end()) return std::nullopt;
  const int fd = found->second.get();
  // Only looked at first: what follows the line belongs to the stream.
  char text[kMaxLineBytes];
  const ssize_t read = ::recv(fd, text, sizeof(text), MSG_PEEK | MSG_DONTWAIT);
  if (read < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  const std::string_view seen(text, read < 0 ? 0 : static_cast<size_t>(read));
  const size_t end = seen.find('\n');
  const auto port = parse_connect(seen.substr(0, end));
  const bool may_complete = read > 0 && end == std::string_view::npos &&
                            seen.size() < sizeof(text) && !(events & (EPOLLRDHUP | EPOLLHUP));
  if (may_complete) return std::nullopt;
  UniqueFd socket = std::move(found->second);
  handshakes_.erase(found);
  if (end == std::string_view::npos || !port) return std::nullopt;
  ::recv(fd, text, end + 1, MSG_DONTWAIT);
  return Request{std::move(socket), *port};
}

}  // namespace kata::vsock
