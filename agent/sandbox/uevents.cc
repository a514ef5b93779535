#include "agent/sandbox/uevents.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

namespace kata::sandbox {
namespace {

/// The kernel's own multicast group of NETLINK_KOBJECT_UEVENT; group 2 is udev's.
constexpr uint32_t kKernelGroup = 1;
/// UEVENT_BUFFER_SIZE of linux/kobject.h, with its header line.
constexpr size_t kMaxUeventBytes = 4096;

/// `message` is strings, each with a NUL at its end.
bool has_line(std::string_view message, std::string_view wanted) {
  while (!message.empty()) {
    const size_t end = std::min(message.find('\0'), message.size());
    if (message.substr(0, end) == wanted) return true;
    message.remove_prefix(std::min(end + 1, message.size()));
  }
  return false;
}

}  // namespace

Result<Uevents> Uevents::open() {
  UniqueFd socket(
      ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  if (!socket) return fail_errno("make a socket for uevents");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelGroup;
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno("subscribe to uevents");
  }
  return Uevents(std::move(socket));
}

bool Uevents::take(std::initializer_list<std::string_view> lines) {
  std::array<char, kMaxUeventBytes> buffer;
  bool taken = false;
  for (;;) {
    sockaddr_nl sender{};
    socklen_t size = sizeof sender;
    const ssize_t got = recvfrom(socket_.get(), buffer.data(), buffer.size(), 0,
                                 reinterpret_cast<sockaddr*>(&sender), &size);
    // ENOBUFS: some were lost, the next ones come.
    if (got < 0 && errno == ENOBUFS)
      taken = true;
    else if (got < 0)
      break;
    if (got <= 0 || sender.nl_pid != 0) continue;  // not the kernel's
    const std::string_view message(buffer.data(), static_cast<size_t>(got));
    taken = taken || std::ranges::all_of(
                         lines, [&](std::string_view line) { return has_line(message, line); });
  }
  return taken;
}

Result<bool> Uevents::wait(std::initializer_list<std::string_view> lines,
                           std::chrono::steady_clock::time_point deadline) {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd watched{socket_.get(), POLLIN, 0};
    if (poll(&watched, 1, static_cast<int>(left.count())) < 0 && errno != EINTR)
      return fail_errno("wait for uevents");
    if (take(lines)) return true;
  }
}

}  // namespace kata::sandbox
