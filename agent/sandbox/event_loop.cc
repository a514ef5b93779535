#include "agent/sandbox/event_loop.h"

#include <array>
#include <future>
#include <system_error>

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace kata::sandbox {
namespace {

constexpr uint64_t kWakeupId = 0;
constexpr int kEventsPerWait = 32;

}  // namespace

Result<std::unique_ptr<EventLoop>> EventLoop::start() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return fail_errno("epoll_create1");
  UniqueFd wakeup(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wakeup) return fail_errno("eventfd");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeupId;
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wakeup.get(), &event) != 0) {
    return fail_errno("epoll_ctl: watch an eventfd");
  }
  std::unique_ptr<EventLoop> loop(new EventLoop(std::move(epoll), std::move(wakeup)));
  try {
    loop->thread_ = std::thread([raw = loop.get()] { raw->run(); });
  } catch (const std::system_error& failure) {
    return fail(Code::kResourceExhausted, "start the event thread: {}", failure.what());
  }
  return loop;
}

EventLoop::~EventLoop() {
  if (!thread_.joinable()) return;
  post([this] { stop_ = true; });
  thread_.join();
}

Result<EventLoop::WatchId> EventLoop::add(int fd, uint32_t events, Handler handler) {
  WatchId id = next_id_++;
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return fail_errno("epoll_ctl: watch a descriptor");
  }
  watches_[id] = Watch{fd, std::make_shared<Handler>(std::move(handler))};
  return id;
}

void EventLoop::modify(WatchId id, uint32_t events) {
  auto found = watches_.find(id);
  if (found == watches_.end()) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, found->second.fd, &event);
}

void EventLoop::remove(WatchId id) {
  auto found = watches_.find(id);
  if (found == watches_.end()) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.fd, nullptr);
  watches_.erase(found);
}

void EventLoop::post(std::function<void()> function) {
  {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(function));
  }
  eventfd_write(wakeup_.get(), 1);
}

void EventLoop::call(std::function<void()> function) {
  if (std::this_thread::get_id() == thread_.get_id()) {
    function();
    return;
  }
  std::promise<void> done;
  post([&] {
    function();
    done.set_value();
  });
  done.get_future().wait();
}

void EventLoop::run() {
  // Writing to a pipe or socket whose reader has gone is an error code here, never a SIGPIPE.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::array<epoll_event, kEventsPerWait> events;
  while (!stop_) {
    int count = epoll_wait(epoll_.get(), events.data(), kEventsPerWait, -1);
    for (int i = 0; i < count; ++i) {
      // A copy: the structure is packed, nothing may refer to its members.
      const WatchId id = events[i].data.u64;
      if (id == kWakeupId) {
        run_posted();
        continue;
      }
      // Ids are never reused, so an event of a watch that an earlier handler removed finds nothing.
      auto found = watches_.find(id);
      if (found == watches_.end()) continue;
      // A handler may remove its own watch: keep the function alive until it has returned.
      std::shared_ptr<Handler> handler = found->second.handler;
      (*handler)(events[i].events);
    }
  }
}

void EventLoop::run_posted() {
  eventfd_t ignored;
  eventfd_read(wakeup_.get(), &ignored);
  std::vector<std::function<void()>> functions;
  {
    std::lock_guard lock(mutex_);
    functions.swap(posted_);
  }
  for (auto& function : functions) function();
}

}  // namespace kata::sandbox
