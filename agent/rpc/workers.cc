#include "agent/rpc/workers.h"

#include <system_error>
#include <utility>

namespace kata::rpc {

Workers::~Workers() {
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    threads.swap(threads_);
  }
  wakeup_.notify_all();
  for (auto& thread : threads) thread.join();
}

bool Workers::run(std::function<void()> function) {
  std::lock_guard lock(mutex_);
  if (queue_.size() >= idle_ && threads_.size() < kMaxThreads) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) return false;
    }
  }
  queue_.push(std::move(function));
  wakeup_.notify_one();
  return true;
}

void Workers::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    wakeup_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    --idle_;
    if (stop_) return;
    auto function = std::move(queue_.front());
    queue_.pop();
    lock.unlock();
    function();
    function = nullptr;  // what it holds is released without the lock
    lock.lock();
  }
}

}  // namespace kata::rpc
