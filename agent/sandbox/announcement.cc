#include "agent/sandbox/announcement.h"

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include <linux/vm_sockets.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common/agent_protocol.h"
#include "common/log/log.h"

namespace kata::sandbox {
namespace {

/// "Bound" comes when the driver has set the device up.
constexpr std::string_view kBound = "ACTION=bind";
constexpr std::string_view kVsockDriver = "DRIVER=vmw_vsock_virtio_transport";

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
  KATA_TRY(Uevents uevents, Uevents::open());
  std::unique_ptr<Announcement> self(new Announcement(std::move(uevents)));
  announce();
  return self;
}

Status Announcement::follow(EventLoop& loop) {
  Status followed;
  loop.call([&] {
    auto watch = loop.add(uevents_.descriptor(), EPOLLIN, [this](uint32_t) { read_uevents(); });
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
  // Nobody else needs this loop yet: there is no sandbox before the host has been told.
  if (uevents_.take({kBound, kVsockDriver})) announce();
}

}  // namespace kata::sandbox
