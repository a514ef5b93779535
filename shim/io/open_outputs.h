// How many output streams of a process still run: counted on the copier's thread, told on another.
#pragma once

#include <functional>
#include <mutex>
#include <utility>

namespace kata::io {

/// Shared by the streams and their process. Calls `on_none` once, on the copier's thread, when the
/// last stream has ended; never after abandon(), with which it is destroyed. Thread-safe.
class OpenOutputs {
 public:
  /// Counts as one stream itself, until its maker has added them all and calls one_ended().
  explicit OpenOutputs(std::function<void()> on_none) : on_none_(std::move(on_none)) {}

  void add() {
    std::lock_guard lock(mutex_);
    ++count_;
  }

  void one_ended() {
    std::lock_guard lock(mutex_);
    if (--count_ == 0 && on_none_) on_none_();
  }

  void abandon() {
    std::lock_guard lock(mutex_);
    on_none_ = nullptr;
  }

 private:
  std::mutex mutex_;
  int count_ = 1;
  std::function<void()> on_none_;
};

}  // namespace kata::io
