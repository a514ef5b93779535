// One process of a container, from its start to its reaped end.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include <sys/types.h>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::container {

struct ProcessExit {
  /// As a shell has it: the exit code, or 128 + n after signal n.
  uint32_t status = 0;
  /// Wall clock of the guest, nanoseconds since the epoch.
  int64_t at_unix_ns = 0;
  bool oom_killed = false;
};

/// Any thread. No lock is held while an exit handler runs.
class Process {
 public:
  using ExitHandler = std::function<void(const ProcessExit&)>;

  Process(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

  /// In the agent's pid namespace; free for reuse after the end.
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }

  /// InvalidArgument: no such signal. NotFound: the process has ended.
  Status signal(uint32_t signal) const;

  /// The reaper's news. Once.
  void ended(const ProcessExit& exit);

  /// Calls `handler` once when the process has ended: on the thread that calls ended(), or at once
  /// if that has happened.
  void when_ended(ExitHandler handler);
  std::optional<ProcessExit> exit() const;
  /// Blocks until the end or, answering nothing, until the deadline.
  std::optional<ProcessExit> wait(std::chrono::milliseconds timeout) const;

 private:
  const pid_t pid_;
  const UniqueFd pidfd_;

  mutable std::mutex mutex_;
  mutable std::condition_variable end_;
  std::optional<ProcessExit> exit_;    // guarded by mutex_
  std::vector<ExitHandler> handlers_;  // guarded by mutex_
};

}  // namespace kata::container
