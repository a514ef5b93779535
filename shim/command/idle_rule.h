// When a shim that nobody uses ends by itself: containerd may have been killed between its calls,
// and then nobody will ever ask this shim to shut down (containerd issue 6860).
#pragma once

#include <chrono>
#include <functional>

#include <boost/asio/steady_timer.hpp>

#include "common/sys/async.h"

namespace kata::command {

/// Calls `on_idle` once, when `in_use` has been false for `limit` without a break. Used on one
/// executor; to be destroyed when that runs no more. `in_use` and `on_idle` live as long.
class IdleRule {
 public:
  IdleRule(asio::any_io_executor executor, std::chrono::milliseconds limit,
           std::function<bool()> in_use, std::function<void()> on_idle);

  /// Something that in_use() looks at may have changed: the clock runs, goes on or stops.
  void look();

 private:
  asio::steady_timer clock_;
  std::chrono::milliseconds limit_;
  std::function<bool()> in_use_;
  std::function<void()> on_idle_;
  bool running_ = false;
};

}  // namespace kata::command
