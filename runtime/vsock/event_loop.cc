#include "runtime/vsock/event_loop.h"

#include <cerrno>

#include <sys/epoll.h>

namespace kata::vsock {
namespace {

constexpr int kBatch = 64;
constexpr std::chrono::nanoseconds::rep kSecond = 1'000'000'000;

}  // namespace

Result<EventLoop> EventLoop::create() {
  UniqueFd fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!fd) return fail_errno("create an epoll set");
  return EventLoop(std::move(fd));
}

Status EventLoop::control(int operation, int fd, uint32_t events, EventToken token) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = static_cast<uint64_t>(token.kind) << 32 | token.id;
  if (::epoll_ctl(fd_.get(), operation, fd, &event) != 0) return fail_errno("epoll_ctl");
  return {};
}

Status EventLoop::add(int fd, uint32_t events, EventToken token) {
  return control(EPOLL_CTL_ADD, fd, events, token);
}

Status EventLoop::modify(int fd, uint32_t events, EventToken token) {
  return control(EPOLL_CTL_MOD, fd, events, token);
}

void EventLoop::remove(int fd) { ::epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr); }

std::span<const Event> EventLoop::wait(std::optional<std::chrono::steady_clock::time_point> until) {
  timespec timeout{};
  if (until) {
    const auto left = *until - std::chrono::steady_clock::now();
    // A batch of the transmit queue is over before a millisecond is.
    if (left.count() > 0) timeout = {left.count() / kSecond, left.count() % kSecond};
  }
  epoll_event raw[kBatch];
  events_.clear();
  const int count = ::epoll_pwait2(fd_.get(), raw, kBatch, until ? &timeout : nullptr, nullptr);
  // The only failure of a valid set is EINTR: the caller looks around and waits again.
  for (int i = 0; i < count; ++i) {
    const auto kind = static_cast<EventToken::Kind>(raw[i].data.u64 >> 32);
    events_.push_back({{kind, static_cast<uint32_t>(raw[i].data.u64)}, raw[i].events});
  }
  return events_;
}

}  // namespace kata::vsock
