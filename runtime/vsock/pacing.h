// How the device and a busy guest keep out of each other's way: by the clock, not for each packet.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>

namespace kata::vsock {

using PaceClock = std::chrono::steady_clock;

/// Of two times at which something has to be done, if at all, the earlier one.
inline std::optional<PaceClock::time_point> earlier(std::optional<PaceClock::time_point> a,
                                                    std::optional<PaceClock::time_point> b) {
  return a && b ? std::min(*a, *b) : (a ? a : b);
}

/// An interrupt that the guest does not wait for, sent once for many buffers: that of the transmit
/// queue, which only lets the guest free what it has sent. Used on one thread.
class DelayedInterrupt {
 public:
  /// So many buffers, or so long, the guest waits at most. Linux has room for 128.
  static constexpr size_t kBuffers = 16;
  static constexpr std::chrono::milliseconds kDelay{1};

  /// `buffers` have been shown to the driver; `wanted`: it asks for an interrupt for them.
  void published(size_t buffers, bool wanted) {
    buffers_ += buffers;
    if (wanted && !due_) due_ = PaceClock::now() + kDelay;
  }
  bool is_due() const { return due_ && (buffers_ >= kBuffers || PaceClock::now() >= *due_); }
  std::optional<PaceClock::time_point> due() const { return due_; }

  /// It has been sent, or the guest that wanted it has gone.
  void clear() { *this = {}; }

 private:
  size_t buffers_ = 0;
  std::optional<PaceClock::time_point> due_;
};

/// When an empty transmit queue is looked at again. A kick is what the guest pays most for: it
/// leaves the VM and wakes this thread, on the guest's own CPU more often than not. So while much
/// comes, the queue is looked at every now and then, and a kick is asked for only when little has
/// come meanwhile. Used on one thread.
class QueueLook {
 public:
  /// Little enough to be taken one by one.
  static constexpr size_t kLittleBytes = 16 * 1024;
  /// What the guest can send meanwhile is far less than the credit of a stream.
  static constexpr std::chrono::microseconds kInterval{200};

  void took(size_t bytes) { bytes_ += bytes; }

  /// The queue is empty now: true when a kick has to be asked for, else next() is set.
  bool wants_kick() {
    const auto now = PaceClock::now();
    if (next_ && now < *next_) return false;
    const bool little = std::exchange(bytes_, 0) < kLittleBytes;
    next_.reset();
    if (!little) next_ = now + kInterval;
    return little;
  }
  std::optional<PaceClock::time_point> next() const { return next_; }

  /// The queue has stopped.
  void clear() { *this = {}; }

 private:
  size_t bytes_ = 0;
  std::optional<PaceClock::time_point> next_;
};

}  // namespace kata::vsock
