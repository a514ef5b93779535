// Work that blocks, off the one thread of the executor.
#pragma once

#include <functional>
#include <memory>
#include <system_error>
#include <thread>

#include <boost/asio/execution.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>

#include "common/sys/promise.h"

namespace kata::sys {

/// Runs `work` on a thread of its own and completes, on the executor, with its result. `work` must
/// own, or outlive, all it touches, and end by itself: who stops waiting still waits for its end.
template <typename T>
Async<T> run_blocking(asio::any_io_executor executor, std::function<Result<T>()> work) {
  Promise<Result<T>> answer(executor);
  std::jthread thread;
  try {
    // The executor must not run dry while only the thread knows that there is more to do.
    auto tracked = asio::prefer(executor, asio::execution::outstanding_work.tracked);
    thread = std::jthread([work = std::move(work), answer, tracked]() mutable {
      auto result = std::make_shared<Result<T>>(work());
      asio::post(tracked, [answer = std::move(answer), result = std::move(result)]() mutable {
        answer.set(std::move(*result));
      });
    });
  } catch (const std::system_error& failure) {
    co_return fail(Code::kResourceExhausted, "start a thread: {}", failure.what());
  }
  co_return co_await answer.wait();
}

}  // namespace kata::sys
