// Threads for the calls that wait for the kernel: mounts, an init's set-up, dying processes.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <queue>
#include <thread>
#include <vector>

namespace kata::rpc {

/// Starts a thread when none is idle, up to kMaxThreads; further functions queue. Threads stay.
class Workers {
 public:
  Workers() = default;
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  /// Waits for the functions that run; the queued ones are dropped.
  ~Workers();

  /// Any thread. False: no thread could be started and none exists.
  bool run(std::function<void()> function);

 private:
  // More than any pod has calls in flight; a bound only so that nothing grows without one.
  static constexpr size_t kMaxThreads = 64;

  void work();

  std::mutex mutex_;
  std::condition_variable wakeup_;
  std::queue<std::function<void()>> queue_;  // guarded by mutex_
  std::vector<std::thread> threads_;         // guarded by mutex_
  size_t idle_ = 0;                          // guarded by mutex_
  bool stop_ = false;                        // guarded by mutex_
};

}  // namespace kata::rpc
