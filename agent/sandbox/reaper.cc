#include "agent/sandbox/reaper.h"

#include <utility>
#include <vector>

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

namespace kata::sandbox {
namespace {

sigset_t child_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  return set;
}

uint32_t shell_status(int status) {
  constexpr uint32_t kSignalBase = 128;
  if (WIFSIGNALED(status)) return kSignalBase + static_cast<uint32_t>(WTERMSIG(status));
  return static_cast<uint32_t>(WEXITSTATUS(status));
}

}  // namespace

Status Reaper::block_signals() {
  sigset_t set = child_signals();
  int failed = pthread_sigmask(SIG_BLOCK, &set, nullptr);
  if (failed != 0) return fail_errno("block SIGCHLD", failed);
  return {};
}

Result<std::unique_ptr<Reaper>> Reaper::start(EventLoop& loop) {
  sigset_t set = child_signals();
  UniqueFd signals(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return fail_errno("signalfd for SIGCHLD");
  std::unique_ptr<Reaper> reaper(new Reaper(loop, std::move(signals)));
  Status added;
  loop.call([&] {
    auto watch =
        loop.add(reaper->signals_.get(), EPOLLIN, [raw = reaper.get()](uint32_t) { raw->reap(); });
    if (watch) {
      reaper->watch_ = *watch;
    } else {
      added = std::unexpected(watch.error());
    }
  });
  KATA_CHECK(added);
  return reaper;
}

Reaper::~Reaper() {
  if (watch_ != 0) loop_.call([this] { loop_.remove(watch_); });
}

Status Reaper::spawn(const std::function<Result<pid_t>()>& spawn, ExitHandler on_exit) {
  std::lock_guard lock(mutex_);
  KATA_TRY(pid_t pid, spawn());
  children_[pid] = std::move(on_exit);
  return {};
}

void Reaper::reap() {
  signalfd_siginfo ignored;
  // One signal may stand for many children: empty the queue, then collect whoever has ended.
  while (read(signals_.get(), &ignored, sizeof ignored) > 0) {
  }
  std::vector<std::pair<ExitHandler, uint32_t>> ended;
  {
    std::lock_guard lock(mutex_);
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0;) {
      auto child = children_.find(pid);
      if (child == children_.end()) continue;  // an orphan
      ended.emplace_back(std::move(child->second), shell_status(status));
      children_.erase(child);
    }
  }
  for (auto& [on_exit, status] : ended) on_exit(status);
}

}  // namespace kata::sandbox
