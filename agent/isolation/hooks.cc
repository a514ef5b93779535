#include "agent/isolation/hooks.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <optional>

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>
extern "C" {  // glibc 2.36 forgets to say so itself
#include <sys/pidfd.h>
}

#include "agent/isolation/call_error.h"
#include "agent/isolation/container.h"
#include "agent/isolation/seccomp.h"
#include "common/base/unique_fd.h"
#include "common/oci/hooks.h"
#include "common/sys/exit_status.h"
#include "common/sys/file.h"
#include "common/sys/output_tail.h"

namespace kata::isolation {
namespace {

using Clock = std::chrono::steady_clock;

/// Of each hook; what it says is for one line of a message.
constexpr size_t kOutputKeptBytes = 2048;
constexpr int kFirstOtherDescriptor = 3;

/// One hook, ready to run.
struct Call {
  std::string_view kind;
  size_t index = 0;
  const oci::Hook& hook;
  std::string program;
  std::string state;
  int directory = -1;       // to start in; -1: the caller's
  std::string_view filter;  // seccomp.h; empty: none
};

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends;
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_call("make a pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// What the child works with, made before the fork.
struct ChildPlan {
  const Call& call;
  std::vector<std::string> arguments;
  std::vector<char*> argv;
  std::vector<char*> envp;
  UniqueFd input;
  Pipe output;
  Pipe failure;  // carries the errno of a step that failed, and ends with execve
};

Result<ChildPlan> make_plan(const Call& call) {
  ChildPlan plan{call, oci::arguments_of(call.hook), {}, {}, {}, {}, {}};
  plan.argv = as_pointers(plan.arguments);
  plan.envp = as_pointers(call.hook.env);
  KATA_TRY(plan.input, sys::memory_file(call.state));
  KATA_TRY(plan.output, make_pipe());
  if (::fcntl(plan.output.read.get(), F_SETFL, O_NONBLOCK) < 0) return fail_call("fcntl of a pipe");
  KATA_TRY(plan.failure, make_pipe());
  return plan;
}

/// Returns only if a step has failed, with errno.
void become_hook(const ChildPlan& plan) {
  reset_signals();
  ::setsid();
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return;
  if (plan.call.directory >= 0 && ::fchdir(plan.call.directory) < 0) return;
  if (::dup2(plan.input.get(), STDIN_FILENO) < 0 ||
      ::dup2(plan.output.write.get(), STDOUT_FILENO) < 0 ||
      ::dup2(plan.output.write.get(), STDERR_FILENO) < 0)
    return;
  if (::close_range(kFirstOtherDescriptor, ~0U, CLOSE_RANGE_CLOEXEC) < 0) return;
  // Last, so that it need allow no call of ours but execve.
  if (!plan.call.filter.empty() && !install_filter(plan.call.filter)) return;
  ::execve(plan.call.program.c_str(), plan.argv.data(), plan.envp.data());
}

[[noreturn]] void run_child(const ChildPlan& plan) {
  become_hook(plan);
  const int error_number = errno;
  [[maybe_unused]] auto ignored =
      ::write(plan.failure.write.get(), &error_number, sizeof error_number);
  ::_exit(127);
}

/// 0: the hook runs. Otherwise the child is about to exit.
int await_execve(const UniqueFd& failure) {
  int error_number = 0;
  ssize_t got;
  do {
    got = ::read(failure.get(), &error_number, sizeof error_number);
  } while (got < 0 && errno == EINTR);
  return got == sizeof error_number ? error_number : 0;
}

struct Outcome {
  sys::ExitStatus status;
  bool timed_out = false;
  std::string output;
};

/// In milliseconds, as poll(2) takes it; -1: no limit.
int left_until(std::optional<Clock::time_point> deadline) {
  if (!deadline) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<decltype(left)>(left, 0, std::numeric_limits<int>::max()));
}

/// The output's end is not awaited: whom a hook leaves behind may hold it open.
Outcome watch(pid_t pid, const UniqueFd& pidfd, UniqueFd output,
              std::optional<Clock::time_point> deadline) {
  sys::OutputTail tail(kOutputKeptBytes);
  Outcome outcome;
  while (true) {
    std::array<pollfd, 2> wait = {pollfd{pidfd.get(), POLLIN, 0}, pollfd{output.get(), POLLIN, 0}};
    const int limit = outcome.timed_out ? -1 : left_until(deadline);
    const int ready = ::poll(wait.data(), wait.size(), limit);
    if (ready < 0 && errno != EINTR) break;
    if (ready == 0) {
      outcome.timed_out = true;
      // The session that it leads, unless it has made itself another: not reaped, so nobody else's.
      ::kill(-pid, SIGKILL);
      ::kill(pid, SIGKILL);
    }
    if (ready > 0 && wait[1].revents != 0 && !tail.drain(output.get())) output.reset();
    if (ready > 0 && wait[0].revents != 0) break;
  }
  if (output) tail.drain(output.get());
  outcome.status = sys::reap_child(pidfd.get());
  outcome.output = tail.text();
  return outcome;
}

/// A program that is there and of which the kernel says that it is not.
std::string_view hint(const std::string& program, int error_number) {
  if (error_number != ENOENT || ::access(program.c_str(), F_OK) != 0) return "";
  return " (it is there: its interpreter or loader is not)";
}

Status run(const Call& call) {
  auto failed = [&](Code code, std::string_view outcome, std::string_view output = {}) {
    return std::unexpected(
        oci::hook_error(call.kind, call.index, call.hook, code, outcome, output));
  };
  auto plan = make_plan(call);
  if (!plan) return failed(plan.error().code(), plan.error().message());
  std::optional<Clock::time_point> deadline;
  if (call.hook.timeout_s) deadline = Clock::now() + std::chrono::seconds(*call.hook.timeout_s);
  const pid_t pid = ::fork();
  if (pid < 0) return failed(code_from_errno(errno), fail_call("fork").error().message());
  if (pid == 0) run_child(*plan);
  UniqueFd pidfd(::pidfd_open(pid, 0));
  plan->output.write.reset();
  plan->failure.write.reset();
  if (!pidfd) return failed(code_from_errno(errno), fail_call("pidfd_open").error().message());
  const int error_number = await_execve(plan->failure.read);
  const Outcome outcome = watch(pid, pidfd, std::move(plan->output.read), deadline);
  if (error_number != 0)
    return failed(code_from_errno(error_number), fmt::format("{}{}", lower_strerror(error_number),
                                                             hint(call.program, error_number)));
  if (outcome.status.success()) return {};
  if (outcome.timed_out)
    return failed(Code::kDeadlineExceeded, fmt::format("ran past its {} s", *call.hook.timeout_s),
                  outcome.output);
  return failed(Code::kAborted, sys::describe(outcome.status), outcome.output);
}

std::string state_for(const oci::Spec& spec, const ContainerInfo& info, std::string_view status) {
  oci::State state;
  state.id = info.id;
  state.status = status;
  state.pid = ::getpid();  // in the container's pid namespace, as under runc
  state.bundle = info.bundle;
  state.annotations = spec.annotations;
  return oci::to_json(state);
}

}  // namespace

Status run_create_hooks(const oci::Spec& spec, const ContainerInfo& info, int rootfs) {
  const auto& hooks = spec.hooks.create_container;
  for (size_t i = 0; i < hooks.size(); ++i) {
    const auto found = info.hook_programs.find(hooks[i].path);
    const std::string program = found == info.hook_programs.end() ? hooks[i].path : found->second;
    KATA_CHECK(run({"createContainer",
                    i,
                    hooks[i],
                    program,
                    state_for(spec, info, oci::kCreating),
                    rootfs,
                    {}}));
  }
  return {};
}

Status run_start_hooks(const oci::Spec& spec, const ContainerInfo& info, std::string_view filter) {
  const auto& hooks = spec.hooks.start_container;
  for (size_t i = 0; i < hooks.size(); ++i)
    KATA_CHECK(run({"startContainer", i, hooks[i], hooks[i].path,
                    state_for(spec, info, oci::kCreated), -1, filter}));
  return {};
}

}  // namespace kata::isolation
