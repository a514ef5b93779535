// A one-time event that any number of coroutines may await.
#pragma once

#include <memory>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>

#include "common/sys/async.h"

namespace kata::sys {

/// Starts unset; set() is for ever. Copies share the event, so a waiter may outlive its creator
/// (the event is then never set, unless a copy remains). Used on one executor.
class Event {
 public:
  explicit Event(asio::any_io_executor executor)
      : state_(std::make_shared<State>(std::move(executor))) {}

  bool is_set() const { return state_->set; }

  void set() {
    state_->set = true;
    state_->timer.cancel();
  }

  /// Completes when the event is set; at once when it has been.
  static asio::awaitable<void> wait(Event event) {
    auto state = event.state_;
    while (!state->set) {
      boost::system::error_code ignored;
      co_await state->timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
  }
  asio::awaitable<void> wait() const { return wait(*this); }

 private:
  struct State {
    explicit State(asio::any_io_executor executor)
        : timer(std::move(executor), asio::steady_timer::time_point::max()) {}
    asio::steady_timer timer;
    bool set = false;
  };
  std::shared_ptr<State> state_;
};

}  // namespace kata::sys
