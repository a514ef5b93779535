// Tells when the OOM killer has ended processes of a container.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "agent/sandbox/event_loop.h"
#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::container {

/// Any thread. Waiting takes no thread, and nothing at all until somebody waits.
class OomWatch : public std::enable_shared_from_this<OomWatch> {
 public:
  using Count = std::function<Result<uint64_t>()>;
  /// How many processes so far; NotFound: the container is removed.
  using Handler = std::function<void(Result<uint64_t>)>;

  /// `events_file` changes whenever `count` may have. `count` is called on the loop's thread and
  /// never after close(). `loop` outlives the object.
  OomWatch(sandbox::EventLoop& loop, std::filesystem::path events_file, Count count)
      : loop_(loop), events_file_(std::move(events_file)), count_(std::move(count)) {}

  /// Calls `handler` once, on the loop's thread, when there are more than `seen`, or with close().
  void wait(uint64_t seen, Handler handler);

  /// Answers everybody and returns when that has been done. Harmless when repeated.
  void close();

 private:
  struct Waiter {
    uint64_t seen;
    Handler handler;
  };

  void watch();
  void answer();

  sandbox::EventLoop& loop_;
  const std::filesystem::path events_file_;
  const Count count_;

  // Of the loop's thread:
  UniqueFd inotify_;
  sandbox::EventLoop::WatchId watch_ = 0;
  std::vector<Waiter> waiters_;
  bool closed_ = false;
};

}  // namespace kata::container
