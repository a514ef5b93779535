#include "agent/container/spawn.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "agent/isolation/namespaces.h"
#include "common/sys/file.h"

namespace kata::container {
namespace {

#if !defined(__x86_64__)
#error "clone_into() has an implementation for x86-64 only"
#endif

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kChildStack = 64 * 1024;  // far more than run_child() uses
#endif

struct ChildPlan {
  int executable;
  std::array<int, 5> descriptors;  // become 0, 1, 2, kSyncDescriptor and kInitDescriptor
  size_t count;                    // of those that there are

  /// The user namespace, if there is one. The child is a copy of the agent then.
  int gate = -1;                      // own: a byte comes when the ids are mapped
  int user_namespace = -1;            // to be joined
  int report = -1;                    // joined: an int32_t, the process's pid or an error's number
  bool pid_namespace_within = false;  // joined: a new pid namespace has to belong to it
};

/// The agent's protection from the OOM killer is not its children's, from their first page on: one
/// that has too little memory even for its execve has to be killed, or it faults for ever. A
/// failure shows when drop_agent_settings() does the same again.
void give_up_protection() {
  const int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  [[maybe_unused]] auto written = write(file, "0", 1);
  close(file);
}

[[noreturn]] void report_and_exit(const ChildPlan& plan, int32_t value) {
  [[maybe_unused]] auto written = write(plan.report, &value, sizeof value);
  _exit(0);
}

/// Not by libc's functions, which would look for the agent's other threads.
bool become_root_of_namespace() {
  return syscall(SYS_setresgid, 0, 0, 0) == 0 && syscall(SYS_setresuid, 0, 0, 0) == 0;
}

/// Has a sibling born in a new pid namespace go on: only a process that has joined the user
/// namespace can make one that belongs to it.
void continue_in_pid_namespace(const ChildPlan& plan) {
  clone_args args{};
  args.flags = CLONE_NEWPID | CLONE_PARENT;
  const long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) return;
  report_and_exit(plan, pid < 0 ? -errno : static_cast<int32_t>(pid));
}

void enter_user_namespace(const ChildPlan& plan) {
  if (plan.gate >= 0) {
    char mapped = 0;
    if (read(plan.gate, &mapped, 1) != 1 || !become_root_of_namespace()) _exit(255);
  }
  if (plan.user_namespace < 0) return;
  if (setns(plan.user_namespace, CLONE_NEWUSER) != 0 || !become_root_of_namespace())
    report_and_exit(plan, -errno);
  if (plan.pid_namespace_within) return continue_in_pid_namespace(plan);
  const int32_t joined = 0;
  [[maybe_unused]] auto written = write(plan.report, &joined, sizeof joined);
}

/// The child until execveat. It may run in the memory of the agent, which waits then: system calls
/// and its own stack frame only.
[[noreturn, gnu::noinline]] void run_child(const ChildPlan& plan) {
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  give_up_protection();
  enter_user_namespace(plan);
  std::array<int, 5> moved = plan.descriptors;
  // First out of the way of 0 to 4, so that no dup2 overwrites what another still needs.
  for (int& fd : moved) fd = fcntl(fd, F_DUPFD_CLOEXEC, kInitDescriptor + 1);
  for (size_t i = 0; i < plan.count; ++i) {
    // Never with a stream of the agent's in place of the container's.
    if (dup2(moved[i], static_cast<int>(i)) < 0) _exit(255);
  }
  char* const argv[] = {const_cast<char*>(kInitName), nullptr};
  char* const envp[] = {nullptr};
  syscall(SYS_execveat, plan.executable, "", argv, envp, AT_EMPTY_PATH);
  _exit(255);
}

/// clone3 whose child goes straight into run_child(). Not syscall(2): parent and child may share
/// the stack, and the child would overwrite the frame from which the parent returns. Here the child
/// only goes deeper than this frame, in which nothing changes.
[[gnu::noinline]] long clone_into(clone_args& args, const ChildPlan& plan) {
  long result = 0;
  asm volatile("syscall"
               : "=a"(result)
               : "0"(static_cast<long>(SYS_clone3)), "D"(&args), "S"(sizeof args)
               : "rcx", "r11", "memory");
  if (result == 0) run_child(plan);
  return result;
}

/// Has children of this thread be born in another pid namespace; undone by the destructor.
class PidNamespaceOfChildren {
 public:
  PidNamespaceOfChildren() = default;
  PidNamespaceOfChildren(const PidNamespaceOfChildren&) = delete;
  PidNamespaceOfChildren& operator=(const PidNamespaceOfChildren&) = delete;
  ~PidNamespaceOfChildren() {
    if (own_) setns(own_.get(), CLONE_NEWPID);
  }

  Status join(const std::string& path) {
    UniqueFd other(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!other) return fail_errno(fmt::format("open pid namespace {}", path));
    KATA_TRY(UniqueFd own, open_own());
    KATA_CHECK(isolation::refuse_agents_namespace(own.get(), other.get(), path));
    return enter(std::move(own), other.get(), path);
  }

  /// That of a process, which is known not to be the agent's.
  Status join_of(int pidfd) {
    KATA_TRY(UniqueFd own, open_own());
    return enter(std::move(own), pidfd, "of the container's init");
  }

 private:
  static Result<UniqueFd> open_own() {
    UniqueFd own(open("/proc/thread-self/ns/pid", O_RDONLY | O_CLOEXEC));
    if (!own) return fail_errno("open the agent's own pid namespace");
    return own;
  }

  Status enter(UniqueFd own, int other, std::string_view what) {
    if (setns(other, CLONE_NEWPID) != 0) {
      // Not "not found": whoever asks has named a container, which ends just now.
      if (errno == ESRCH) return fail(Code::kAborted, "join pid namespace {}: it ends", what);
      return fail_errno(fmt::format("join pid namespace {}", what));
    }
    own_ = std::move(own);
    return {};
  }

  UniqueFd own_;
};

struct Pipe {
  UniqueFd reader;
  UniqueFd writer;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe to a process");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// How the agent and the child see to the child's user namespace; nothing without one.
class UserNamespaceOfChild {
 public:
  Status plan(const SpawnRequest& request, ChildPlan& plan) {
    const auto* wanted = request.user_namespace;
    if (!wanted) return {};
    KATA_TRY(pipe_, make_pipe());
    if (wanted->path.empty()) {
      plan.gate = pipe_.reader.get();
      return {};
    }
    KATA_TRY(joined_, open_other(wanted->path));
    plan.user_namespace = joined_.get();
    plan.report = pipe_.writer.get();
    plan.pid_namespace_within = request.new_pid_namespace;
    return {};
  }

  /// What clone3 has to do about it.
  uint64_t flags(const SpawnRequest& request) const {
    const bool own_pid = request.new_pid_namespace;
    if (!request.user_namespace) return own_pid ? CLONE_NEWPID | CLONE_VM | CLONE_VFORK : 0;
    if (joined_) return 0;
    return own_pid ? CLONE_NEWUSER | CLONE_NEWPID : CLONE_NEWUSER;
  }

  /// Once the child exists: it goes on as root of its namespace. It ends if this fails.
  Status complete(const SpawnRequest& request, Spawned& child) {
    const auto* wanted = request.user_namespace;
    if (!wanted) return {};
    if (joined_) KATA_CHECK(await_report(wanted->path, child));
    KATA_CHECK(sys::write_existing(fmt::format("/proc/{}/oom_score_adj", child.pid),
                                   fmt::to_string(request.oom_score_adj)));
    if (joined_) return {};
    KATA_CHECK(isolation::write_id_mappings(child.pid, *wanted));
    if (write(pipe_.writer.get(), "m", 1) != 1) return fail_errno("tell a process of its ids");
    return {};
  }

 private:
  static Result<UniqueFd> open_other(const std::string& path) {
    UniqueFd other(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!other) return fail_errno(fmt::format("open user namespace {}", path));
    UniqueFd own(open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC));
    if (!own) return fail_errno("open the agent's own user namespace");
    KATA_CHECK(isolation::refuse_agents_namespace(own.get(), other.get(), path));
    return other;
  }

  /// The child may be another one from here on.
  Status await_report(const std::string& path, Spawned& child) {
    pipe_.writer.reset();
    int32_t value = 0;
    if (read(pipe_.reader.get(), &value, sizeof value) != sizeof value)
      return fail(Code::kAborted, "join user namespace {}: the process has ended", path);
    if (value < 0) return fail_errno(fmt::format("join user namespace {}", path), -value);
    if (value == 0) return {};
    // Not reaped yet: no other process has this pid.
    UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, value, 0)));
    if (!pidfd) return fail_errno("open a process of the container");
    child = Spawned{value, std::move(pidfd)};
    return {};
  }

  Pipe pipe_;
  UniqueFd joined_;
};

void kill_child(const Spawned& child) {
  syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGKILL, nullptr, 0);
}

}  // namespace

Result<Spawned> spawn_process(const SpawnRequest& request) {
  PidNamespaceOfChildren pid_namespace;
  if (!request.join_pid_namespace.empty()) {
    KATA_CHECK(pid_namespace.join(request.join_pid_namespace));
  } else if (request.join_pid_namespace_of_init) {
    KATA_CHECK(pid_namespace.join_of(request.container_init));
  }
  ChildPlan plan{
      request.executable,
      {request.stdio[0], request.stdio[1], request.stdio[2], request.sync, request.container_init},
      request.container_init < 0 ? size_t{4} : size_t{5}};
  UserNamespaceOfChild user_namespace;
  KATA_CHECK(user_namespace.plan(request, plan));
  int pidfd = -1;
  clone_args args{};
  // Whom the child meets in a pid namespace may stop it before its execve, and the agent must not
  // wait for that: only a child that is alone borrows the agent's memory. Nor does one that waits
  // for the agent.
  args.flags = CLONE_PIDFD | CLONE_INTO_CGROUP | user_namespace.flags(request);
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<uint64_t>(request.cgroup);

  // A handler must not run in the child, where it would work on the agent's memory.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  long pid = clone_into(args, plan);
#if defined(__SANITIZE_ADDRESS__)
  // The child's frames, which are gone, have left their marks on the stack that it shared.
  __asan_unpoison_memory_region(static_cast<char*>(__builtin_frame_address(0)) - kChildStack,
                                kChildStack);
#endif
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return fail_errno("start a process of the container", static_cast<int>(-pid));
  Spawned child{static_cast<pid_t>(pid), UniqueFd(pidfd)};
  if (auto completed = user_namespace.complete(request, child); !completed) {
    kill_child(child);
    return std::unexpected(completed.error());
  }
  return child;
}

}  // namespace kata::container
