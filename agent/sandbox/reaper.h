// The one place that reaps children: started processes and, as PID 1, every orphan of the guest.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include <sys/types.h>

#include "agent/sandbox/event_loop.h"
#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::sandbox {

/// Needs SIGCHLD blocked in every thread of the process: block_signals() before the first thread.
class Reaper {
 public:
  /// As a shell has it: the exit code, or 128 + n after signal n.
  using ExitHandler = std::function<void(uint32_t status)>;

  static Status block_signals();

  /// `loop` must outlive the reaper, and not be stopped from one of its handlers.
  static Result<std::unique_ptr<Reaper>> start(EventLoop& loop);
  ~Reaper();

  /// Calls `spawn`, which starts a child and returns its pid, and has `on_exit` called on the
  /// loop's thread, once, when that child has ended and been reaped: its pid is free then. No child
  /// is reaped while `spawn` runs, so no exit is missed however early it comes.
  Status spawn(const std::function<Result<pid_t>()>& spawn, ExitHandler on_exit);

 private:
  Reaper(EventLoop& loop, UniqueFd signals) : loop_(loop), signals_(std::move(signals)) {}
  void reap();

  EventLoop& loop_;
  UniqueFd signals_;  // signalfd of SIGCHLD
  EventLoop::WatchId watch_ = 0;

  std::mutex mutex_;
  std::unordered_map<pid_t, ExitHandler> children_;  // guarded by mutex_
};

}  // namespace kata::sandbox
