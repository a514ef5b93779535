// The device thread's epoll set.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::vsock {

/// What an event is about. The id tells connections apart and is never used twice, so that an event
/// for something that an earlier event of the same batch has closed finds nothing.
struct EventToken {
  enum class Kind : uint32_t {
    kStop,
    kFrontEndListener,
    kFrontEnd,
    kKick,
    kHostListener,
    kHandshake,
    kConnection,
  };
  Kind kind = Kind::kStop;
  uint32_t id = 0;
};

struct Event {
  EventToken token;
  /// EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR.
  uint32_t events = 0;
};

/// Used on one thread. Descriptors are borrowed: remove() them before they are closed unless nobody
/// else can hold the same open file.
class EventLoop {
 public:
  static Result<EventLoop> create();

  Status add(int fd, uint32_t events, EventToken token);
  /// Changes events and token; edges that are pending are reported again.
  Status modify(int fd, uint32_t events, EventToken token);
  void remove(int fd);

  /// Waits until something happens, `until` then at most, and returns what happened, good until the
  /// next call.
  std::span<const Event> wait(std::optional<std::chrono::steady_clock::time_point> until);

 private:
  explicit EventLoop(UniqueFd fd) : fd_(std::move(fd)) {}
  Status control(int operation, int fd, uint32_t events, EventToken token);

  UniqueFd fd_;
  std::vector<Event> events_;
};

}  // namespace kata::vsock
