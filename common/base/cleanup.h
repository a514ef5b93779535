// Undo steps of a creation that may fail half-way.
#pragma once

#include <functional>
#include <utility>
#include <vector>

namespace kata {

/// Runs the added steps in reverse order unless released. Owned by one thread.
///
///   CleanupStack cleanup;
///   KATA_TRY(auto dir, make_dir(path));
///   cleanup.add([&] { remove_dir(path); });
///   …
///   cleanup.release();   // all went well
class CleanupStack {
 public:
  CleanupStack() = default;
  CleanupStack(const CleanupStack&) = delete;
  CleanupStack& operator=(const CleanupStack&) = delete;
  ~CleanupStack() { run(); }

  void add(std::function<void()> step) { steps_.push_back(std::move(step)); }
  void release() { steps_.clear(); }
  void run() {
    while (!steps_.empty()) {
      auto step = std::move(steps_.back());
      steps_.pop_back();
      step();
    }
  }

 private:
  std::vector<std::function<void()>> steps_;
};

}  // namespace kata
