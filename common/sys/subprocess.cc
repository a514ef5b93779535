#include "common/sys/subprocess.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {  // glibc 2.36 forgets to say so itself
#include <sys/pidfd.h>
}

#include "common/sys/event.h"
#include "common/sys/file.h"
#include "common/sys/output_tail.h"

namespace kata::sys {
namespace {

constexpr size_t kChildStackBytes = 64 * 1024;

/// What the child needs, prepared before the fork: it shares our memory and may not allocate.
struct ChildPlan {
  const char* path;
  char* const* argv;
  char* const* envp;
  int stdin_fd;
  int output_fd;
  const int* passed_fds;
  int* scratch_fds;  // as many as passed_fds
  int passed_count;
  bool kill_with_parent;
  int network_namespace;
  int mount_namespace;
  const char* directory;  // null: stay
  pid_t parent;
  // Answer of the child; seen by the parent because the memory is shared until exec.
  int error_number;
  const char* failed_step;
};

int child_fail(ChildPlan* plan, const char* step) {
  plan->error_number = errno;
  plan->failed_step = step;
  ::_exit(127);
}

void reset_signals() {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

/// Moves the passed descriptors to 3, 4, … and closes all others.
void arrange_fds(ChildPlan* plan) {
  const int first_free = kFirstPassedFd + plan->passed_count;
  // Two passes: a source may stand where another one must go.
  for (int i = 0; i < plan->passed_count; ++i) {
    plan->scratch_fds[i] = ::fcntl(plan->passed_fds[i], F_DUPFD_CLOEXEC, first_free);
    if (plan->scratch_fds[i] < 0) child_fail(plan, "duplicating a passed descriptor");
  }
  const int stdin_copy = ::fcntl(plan->stdin_fd, F_DUPFD_CLOEXEC, first_free);
  const int output_copy = ::fcntl(plan->output_fd, F_DUPFD_CLOEXEC, first_free);
  if (stdin_copy < 0 || output_copy < 0) child_fail(plan, "duplicating standard descriptors");
  if (::dup2(stdin_copy, STDIN_FILENO) < 0 || ::dup2(output_copy, STDOUT_FILENO) < 0 ||
      ::dup2(output_copy, STDERR_FILENO) < 0)
    child_fail(plan, "setting standard descriptors");
  for (int i = 0; i < plan->passed_count; ++i)
    if (::dup2(plan->scratch_fds[i], kFirstPassedFd + i) < 0)
      child_fail(plan, "placing a passed descriptor");
  if (::close_range(static_cast<unsigned>(first_free), ~0U, 0) != 0)
    child_fail(plan, "closing inherited descriptors");
}

int child_main(void* argument) {
  auto* plan = static_cast<ChildPlan*>(argument);
  reset_signals();
  ::setsid();
  if (plan->kill_with_parent) {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) child_fail(plan, "PR_SET_PDEATHSIG");
    // The parent may have died before the line above.
    if (::getppid() != plan->parent) ::_exit(127);
  }
  if (plan->network_namespace >= 0 && ::setns(plan->network_namespace, CLONE_NEWNET) != 0)
    child_fail(plan, "entering the network namespace");
  if (plan->mount_namespace >= 0 && ::setns(plan->mount_namespace, CLONE_NEWNS) != 0)
    child_fail(plan, "entering the mount namespace");
  if (plan->directory != nullptr && ::chdir(plan->directory) != 0)
    child_fail(plan, "entering the working directory");
  arrange_fds(plan);
  ::execve(plan->path, plan->argv, plan->envp);
  return child_fail(plan, "exec");
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (auto& string : strings) result.push_back(string.data());
  result.push_back(nullptr);
  return result;
}

/// Like vfork, with a pidfd: the parent's thread is suspended until the child execs or exits.
Result<UniqueFd> clone_child(ChildPlan& plan, pid_t& pid) {
  std::vector<char> stack(kChildStackBytes);
  auto top = reinterpret_cast<uintptr_t>(stack.data() + stack.size()) & ~uintptr_t{15};
  // A handler that ran in the child would work on the parent's memory.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  int pidfd = -1;
  pid = ::clone(child_main, reinterpret_cast<void*>(top),
                CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &plan, &pidfd);
  const int error_number = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return fail_errno("clone", error_number);
  return UniqueFd(pidfd);
}

/// What the child gets as its stdin.
Result<UniqueFd> open_input(const std::optional<std::string>& input) {
  if (input) return memory_file(*input);
  UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null) return fail_errno("opening /dev/null");
  return null;
}

struct Pipe {
  UniqueFd read;  // does not block
  UniqueFd write;
};

Result<Pipe> make_output_pipe() {
  std::array<int, 2> fds;
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return fail_errno("creating a pipe");
  Pipe pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
  if (::fcntl(pipe.read.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("fcntl of a pipe");
  return pipe;
}

}  // namespace

struct Subprocess::State {
  State(const asio::any_io_executor& executor, ProcessIdentity process, UniqueFd process_fd,
        UniqueFd output_pipe, size_t kept_bytes)
      : identity(process),
        pidfd(std::move(process_fd)),
        pipe(executor, output_pipe.release()),
        output(kept_bytes),
        ended(executor) {}

  /// Reads what is in the pipe; false at its end.
  bool drain() { return output.drain(pipe.native_handle()); }

  ProcessIdentity identity;
  UniqueFd pidfd;
  asio::posix::stream_descriptor pipe;
  OutputTail output;
  ExitStatus status;
  Event ended;
};

asio::awaitable<void> Subprocess::read_output(std::shared_ptr<State> state) {
  boost::system::error_code error;
  do {
    // A wait and then a read, not an async_read: its bytes could be under way to this coroutine
    // while reap() already reads the ones behind them.
    co_await state->pipe.async_wait(asio::posix::stream_descriptor::wait_read,
                                    asio::redirect_error(asio::use_awaitable, error));
  } while (!error && state->pipe.is_open() && state->drain());
}

asio::awaitable<void> Subprocess::reap(std::shared_ptr<State> state) {
  auto ended = co_await wait_pidfd(state->pidfd.get());
  // Without the wait (the executor is being torn down) a reap_child() would block.
  if (!ended) co_return;
  state->status = reap_child(state->pidfd.get());
  // A grandchild may hold the pipe open, so its end is not awaited: what is in it now is all.
  state->drain();
  boost::system::error_code ignored;
  state->pipe.close(ignored);
  state->ended.set();
}

Result<std::unique_ptr<Subprocess>> Subprocess::spawn(asio::any_io_executor executor,
                                                      const SubprocessOptions& options) {
  const std::string path = options.executable.string();
  KATA_TRY(UniqueFd input, open_input(options.input));
  KATA_TRY(Pipe output, make_output_pipe());
  std::vector<std::string> arguments = {options.name.empty() ? path : options.name};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  std::vector<std::string> environment = options.environment;
  auto argv = pointers(arguments);
  auto envp = pointers(environment);
  std::vector<int> scratch(options.passed_fds.size());
  ChildPlan plan{.path = path.c_str(),
                 .argv = argv.data(),
                 .envp = envp.data(),
                 .stdin_fd = input.get(),
                 .output_fd = output.write.get(),
                 .passed_fds = options.passed_fds.data(),
                 .scratch_fds = scratch.data(),
                 .passed_count = static_cast<int>(options.passed_fds.size()),
                 .kill_with_parent = options.kill_with_parent,
                 .network_namespace = options.network_namespace,
                 .mount_namespace = options.mount_namespace,
                 .directory = options.directory.empty() ? nullptr : options.directory.c_str(),
                 .parent = ::getpid(),
                 .error_number = 0,
                 .failed_step = nullptr};
  pid_t pid = -1;
  KATA_TRY(UniqueFd pidfd, clone_child(plan, pid));
  if (plan.failed_step != nullptr) {
    reap_child(pidfd.get());
    return fail_errno(fmt::format("{} of {}", plan.failed_step, path), plan.error_number);
  }
  // Not reaped yet, so that even a child that has ended has its entry in /proc.
  KATA_TRY(const uint64_t start_time, process_start_time(pid));
  const ProcessIdentity identity{.pid = pid, .start_time = start_time};
  auto state = std::make_shared<State>(executor, identity, std::move(pidfd), std::move(output.read),
                                       options.output_kept_bytes);
  asio::co_spawn(executor, read_output(state), asio::detached);
  asio::co_spawn(executor, reap(state), asio::detached);
  return std::unique_ptr<Subprocess>(new Subprocess(std::move(state)));
}

Subprocess::~Subprocess() { (void)kill(SIGKILL); }

const ProcessIdentity& Subprocess::identity() const { return state_->identity; }

bool Subprocess::has_ended() const { return state_->ended.is_set(); }

Async<ExitStatus> Subprocess::wait(std::shared_ptr<State> state) {
  co_await state->ended.wait();
  co_return state->status;
}

// The frame owns the state: the Subprocess may be destroyed before and during the wait.
Async<ExitStatus> Subprocess::wait() { return wait(state_); }

Status Subprocess::kill(int signal) {
  if (has_ended()) return {};
  if (::pidfd_send_signal(state_->pidfd.get(), signal, nullptr, 0) != 0 && errno != ESRCH)
    return fail_errno(fmt::format("signal {} to process {}", signal, pid()));
  return {};
}

void Subprocess::kill_group(int signal) {
  // Not reaped yet: its pid is nobody else's.
  if (!has_ended()) (void)::kill(-pid(), signal);
}

std::string Subprocess::output() const { return state_->output.text(); }

}  // namespace kata::sys
