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
};

/// The child until execveat. It may run in the memory of the agent, which waits then: system calls
/// and its own stack frame only.
[[noreturn, gnu::noinline]] void run_child(const ChildPlan& plan) {
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
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

}  // namespace

Result<Spawned> spawn_process(const SpawnRequest& request) {
  PidNamespaceOfChildren pid_namespace;
  if (!request.join_pid_namespace.empty()) {
    KATA_CHECK(pid_namespace.join(request.join_pid_namespace));
  } else if (request.join_pid_namespace_of_init) {
    KATA_CHECK(pid_namespace.join_of(request.container_init));
  }
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_PIDFD | CLONE_INTO_CGROUP;
  // Whom the child meets in a pid namespace may stop it before its execve, and the agent must not
  // wait for that: only a child that is alone borrows the agent's memory.
  if (request.new_pid_namespace) args.flags |= CLONE_NEWPID | CLONE_VM | CLONE_VFORK;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<uint64_t>(request.cgroup);

  ChildPlan plan{
      request.executable,
      {request.stdio[0], request.stdio[1], request.stdio[2], request.sync, request.container_init},
      request.container_init < 0 ? size_t{4} : size_t{5}};
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
  return Spawned{static_cast<pid_t>(pid), UniqueFd(pidfd)};
}

}  // namespace kata::container
