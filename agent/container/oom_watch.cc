#include "agent/container/oom_watch.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <sys/epoll.h>
#include <sys/inotify.h>

#include "common/log/log.h"

namespace kata::container {
namespace {

std::unexpected<Error> removed() { return fail(Code::kNotFound, "the container has been removed"); }

}  // namespace

void OomWatch::wait(uint64_t seen, Handler handler) {
  loop_.post([self = shared_from_this(), seen, handler = std::move(handler)]() mutable {
    if (self->closed_) {
      handler(removed());
      return;
    }
    self->waiters_.push_back({seen, std::move(handler)});
    // First the watch: what happens before it is counted, what happens after it is an event.
    self->watch();
    self->answer();
  });
}

void OomWatch::close() {
  loop_.call([this] {
    if (closed_) return;
    answer();
    closed_ = true;
    auto self = shared_from_this();
    loop_.remove(std::exchange(watch_, 0));
    inotify_.reset();
    for (auto& waiter : std::exchange(waiters_, {})) waiter.handler(removed());
  });
}

void OomWatch::watch() {
  if (inotify_) return;
  UniqueFd inotify(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  // A kernel without the controller has no such file, and kills nobody for the container's limit.
  if (!inotify || inotify_add_watch(inotify.get(), events_file_.c_str(), IN_MODIFY) < 0) {
    log::warning("OOM kills are not reported",
                 {{"error", errno_error("watch " + events_file_.native()).message()}});
    return;
  }
  auto added = loop_.add(inotify.get(), EPOLLIN, [self = shared_from_this()](uint32_t) {
    auto buffer = self->loop_.scratch();
    while (read(self->inotify_.get(), buffer.data(), buffer.size()) > 0) {
    }
    self->answer();
  });
  if (!added) {
    log::warning("OOM kills are not reported", {{"error", added.error().message()}});
    return;
  }
  inotify_ = std::move(inotify);
  watch_ = *added;
}

void OomWatch::answer() {
  if (waiters_.empty()) return;
  auto kills = count_();
  if (!kills) return;
  auto done = std::stable_partition(waiters_.begin(), waiters_.end(),
                                    [&](const Waiter& waiter) { return *kills <= waiter.seen; });
  std::vector<Waiter> answered(std::make_move_iterator(done),
                               std::make_move_iterator(waiters_.end()));
  waiters_.erase(done, waiters_.end());
  for (auto& waiter : answered) waiter.handler(*kills);
}

}  // namespace kata::container
