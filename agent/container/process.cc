#include "agent/container/process.h"

#include <utility>

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kata::container {

Status Process::signal(uint32_t signal) const {
  // NSIG, of which glibc keeps signals 32 and 33 to itself, but not from other processes.
  constexpr uint32_t kMaxSignal = 64;
  if (signal > kMaxSignal) {
    return fail(Code::kInvalidArgument, "signal {} does not exist: 0 to {} do", signal, kMaxSignal);
  }
  if (syscall(SYS_pidfd_send_signal, pidfd_.get(), static_cast<int>(signal), nullptr, 0) == 0) {
    return {};
  }
  if (errno == ESRCH) return fail(Code::kNotFound, "process already finished");
  return fail_errno(fmt::format("send signal {}", signal));
}

void Process::ended(const ProcessExit& exit) {
  std::vector<ExitHandler> handlers;
  {
    std::lock_guard lock(mutex_);
    exit_ = exit;
    handlers.swap(handlers_);
  }
  end_.notify_all();
  for (auto& handler : handlers) handler(exit);
}

void Process::when_ended(ExitHandler handler) {
  {
    std::lock_guard lock(mutex_);
    if (!exit_) {
      handlers_.push_back(std::move(handler));
      return;
    }
  }
  handler(*exit_);  // never changes once set
}

std::optional<ProcessExit> Process::exit() const {
  std::lock_guard lock(mutex_);
  return exit_;
}

std::optional<ProcessExit> Process::wait(std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  end_.wait_for(lock, timeout, [this] { return exit_.has_value(); });
  return exit_;
}

}  // namespace kata::container
