// One thread that waits for descriptors: stdio streams, the reaper's signalfd, vsock listeners.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_map>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::sandbox {

/// Handlers run on the loop's thread, one at a time, and must not block. add(), modify() and
/// remove() belong to that thread; post() and call() may be used from any.
class EventLoop {
 public:
  using Handler = std::function<void(uint32_t events)>;
  using WatchId = uint64_t;

  /// Starts the thread.
  static Result<std::unique_ptr<EventLoop>> start();
  /// Stops the thread; handlers and posted functions that have not run are dropped.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Level-triggered epoll(7) on a borrowed descriptor, which must stay open until remove().
  /// EPOLLERR and EPOLLHUP are always reported.
  Result<WatchId> add(int fd, uint32_t events, Handler handler);
  void modify(WatchId id, uint32_t events);
  /// The handler is not called any more, not even for events that epoll has handed out already.
  void remove(WatchId id);

  /// For the running handler, which shares it with all others: nothing stays in it.
  std::span<char> scratch() { return scratch_; }

  void post(std::function<void()> function);
  /// Runs `function` on the loop's thread and returns when it has run (at once on the thread
  /// itself).
  void call(std::function<void()> function);

 private:
  // A few packets of virtio-vsock, so that what is copied stays in the CPU's caches.
  static constexpr size_t kScratchBytes = 256 * 1024;

  struct Watch {
    int fd;
    std::shared_ptr<Handler> handler;
  };

  EventLoop(UniqueFd epoll, UniqueFd wakeup)
      : epoll_(std::move(epoll)), wakeup_(std::move(wakeup)) {}
  void run();
  void run_posted();

  UniqueFd epoll_;
  UniqueFd wakeup_;                             // eventfd
  std::unordered_map<WatchId, Watch> watches_;  // loop thread only
  WatchId next_id_ = 1;
  bool stop_ = false;                        // loop thread only
  std::array<char, kScratchBytes> scratch_;  // loop thread only

  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // guarded by mutex_

  std::thread thread_;
};

}  // namespace kata::sandbox
