// A value that is set once and awaited by any number of coroutines.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>

#include "common/sys/async.h"
#include "common/sys/event.h"

namespace kata::sys {

/// An Event that carries a value. Copies share it. Used on one executor.
template <typename T>
class Promise {
 public:
  explicit Promise(const asio::any_io_executor& executor)
      : executor_(executor), event_(executor), value_(std::make_shared<std::optional<T>>()) {}

  /// Only the first value counts.
  void set(T value) {
    if (*value_) return;
    *value_ = std::move(value);
    event_.set();
  }

  bool is_set() const { return value_->has_value(); }
  /// Only when is_set().
  const T& value() const { return **value_; }

  static asio::awaitable<T> wait(Promise promise) {
    co_await promise.event_.wait();
    co_return promise.value();
  }
  asio::awaitable<T> wait() const { return wait(*this); }

  /// The value, or nothing when it was not set within `limit`.
  static asio::awaitable<std::optional<T>> wait_for(Promise promise,
                                                    asio::steady_timer::duration limit) {
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer deadline(promise.executor_, limit);
    co_await (promise.event_.wait() || deadline.async_wait(asio::use_awaitable));
    co_return *promise.value_;
  }
  asio::awaitable<std::optional<T>> wait_for(asio::steady_timer::duration limit) const {
    return wait_for(*this, limit);
  }

 private:
  asio::any_io_executor executor_;
  Event event_;
  std::shared_ptr<std::optional<T>> value_;
};

}  // namespace kata::sys
