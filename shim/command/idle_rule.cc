#include "shim/command/idle_rule.h"

#include <utility>

namespace kata::command {

IdleRule::IdleRule(asio::any_io_executor executor, std::chrono::milliseconds limit,
                   std::function<bool()> in_use, std::function<void()> on_idle)
    : clock_(std::move(executor)),
      limit_(limit),
      in_use_(std::move(in_use)),
      on_idle_(std::move(on_idle)) {}

void IdleRule::look() {
  if (in_use_()) {
    running_ = false;
    clock_.cancel();
    return;
  }
  if (std::exchange(running_, true) || !on_idle_) return;
  clock_.expires_after(limit_);
  clock_.async_wait([this](boost::system::error_code cancelled) {
    // A clock that had struck already cannot be cancelled any more: whether it still counts is
    // what running_ says, and a later clock's own expiry.
    if (cancelled || !running_ || clock_.expiry() > std::chrono::steady_clock::now()) return;
    if (auto on_idle = std::exchange(on_idle_, nullptr)) on_idle();
  });
}

}  // namespace kata::command
