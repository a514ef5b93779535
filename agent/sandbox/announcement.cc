#include "agent/sandbox/announcement.h"

#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common/agent_protocol.h"
#include "common/log/log.h"

namespace kata::sandbox {
namespace {

/// The kernel's own multicast group of NETLINK_KOBJECT_UEVENT; group 2 is udev's.
constexpr uint32_t kKernelGroup = 1;
/// UEVENT_BUFFER_SIZE of linux/kobject.h, with its header line.
constexpr size_t kMaxUeventBytes = 4096;
/// "Bound" comes when the driver has set the device up.
constexpr std::string_view kBound = "ACTION=bind";
constexpr std::string_view kVsockDriver = "DRIVER=vmw_vsock_virtio_transport";

Result<UniqueFd> open_uevents() {
  UniqueFd socket(
      ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  if (!socket) return fail_errno("make a socket for uevents");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelGroup;
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno("subscribe to uevents");
  }
  return socket;
}

/// `message` is strings, each with a NUL at its end.
bool has_line(std::string_view message, std::string_view wanted) {
  while (!message.empty()) {
    const size_t end = std::min(message.find('\0'), message.size());
    if (message.substr(0, end) == wanted) return true;
    message.remove_prefix(std::min(end + 1, message.size()));
  }
  return false;
}

/// NotFound: the VM has no vsock device.
Status send_ready_line() {
  UniqueFd socket(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("make a vsock socket");
  sockaddr_vm host{};
  host.svm_family = AF_VSOCK;
  host.svm_cid = VMADDR_CID_HOST;
  host.svm_port = kReadyPort;
  if (connect(socket.get(), reinterpret_cast<sockaddr*>(&host), sizeof host) != 0) {
    if (errno == ENODEV) return fail(Code::kNotFound, "the VM has no vsock device");
    return fail_errno(fmt::format("connect to vsock port {} of the host", kReadyPort));
  }
  if (send(socket.get(), kReadyLine.data(), kReadyLine.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(kReadyLine.size())) {
    return fail_errno("send the ready line to the host");
  }
  return {};
}

void announce() {
  auto announced = send_ready_line();
  if (announced) return;
  if (announced.error().code() == Code::kNotFound) {
    log::info("the agent waits for a vsock device");
    return;
  }
  log::warning("the host was not told that the agent is ready",
               {{"error", announced.error().message()}});
}

}  // namespace

Result<std::unique_ptr<Announcement>> Announcement::begin() {
  // Before the first attempt: a device that comes between is not missed.
  KATA_TRY(UniqueFd uevents, open_uevents());
  std::unique_ptr<Announcement> self(new Announcement(std::move(uevents)));
  announce();
  return self;
}

Status Announcement::follow(EventLoop& loop) {
  Status followed;
  loop.call([&] {
    auto watch = loop.add(uevents_.get(), EPOLLIN, [this](uint32_t) { read_uevents(); });
    if (watch) {
      loop_ = &loop;
      watch_ = *watch;
    } else {
      followed = std::unexpected(watch.error());
    }
  });
  return followed;
}

Announcement::~Announcement() {
  if (loop_ != nullptr) loop_->call([this] { loop_->remove(watch_); });
}

void Announcement::read_uevents() {
  std::array<char, kMaxUeventBytes> buffer;
  bool arrived = false;
  for (;;) {
    sockaddr_nl sender{};
    socklen_t size = sizeof sender;
    const ssize_t got = recvfrom(uevents_.get(), buffer.data(), buffer.size(), 0,
                                 reinterpret_cast<sockaddr*>(&sender), &size);
    // ENOBUFS: some were lost, the next ones come.
    if (got < 0 && errno == ENOBUFS)
      arrived = true;
    else if (got < 0)
      break;
    if (got <= 0 || sender.nl_pid != 0) continue;  // not the kernel's
    const std::string_view message(buffer.data(), static_cast<size_t>(got));
    arrived = arrived || (has_line(message, kBound) && has_line(message, kVsockDriver));
  }
  // Nobody else needs this loop yet: there is no sandbox before the host has been told.
  if (arrived) announce();
}

}  // namespace kata::sandbox
