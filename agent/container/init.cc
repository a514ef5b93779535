#include "agent/container/init.h"

#include <algorithm>
#include <string>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/container/spawn.h"
#include "agent/container/sync.h"
#include "agent/isolation/container.h"
#include "agent/isolation/namespaces.h"
#include "common/oci/parse.h"

namespace kata::container {
namespace {

// What runc's init exits with when execve fails.
constexpr int kFailedStatus = 255;

Status write_text(const char* path, std::string_view text) {
  UniqueFd file(open(path, O_WRONLY | O_CLOEXEC));
  if (!file) return fail_errno(fmt::format("open {}", path));
  if (write(file.get(), text.data(), text.size()) < 0) {
    return fail_errno(fmt::format("write \"{}\" to {}", text, path));
  }
  return {};
}

/// The agent has protected itself from the OOM killer and raised its limits; a container starts
/// from what the kernel gives a process, unless its spec says otherwise.
Status drop_agent_settings(const oci::Process& process) {
  constexpr rlim_t kDefaultDescriptors = 1024;
  rlimit descriptors{};
  getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = std::min(descriptors.rlim_max, kDefaultDescriptors);
  if (setrlimit(RLIMIT_NOFILE, &descriptors) != 0) return fail_errno("reset RLIMIT_NOFILE");
  if (process.oom_score_adj) return {};
  return write_text("/proc/self/oom_score_adj", "0");
}

/// Lets the container's user open /dev/stdout and its like again (open(2) checks the pipe's owner).
Status give_streams(uid_t uid) {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    struct stat status {};
    if (fstat(fd, &status) != 0) return fail_errno("fstat a standard stream");
    if (!S_ISFIFO(status.st_mode)) continue;
    if (fchown(fd, uid, static_cast<gid_t>(-1)) != 0) return fail_errno("chown a standard stream");
  }
  return {};
}

Result<UniqueFd> enter_container(const oci::Spec& spec, const std::string& rootfs) {
  KATA_TRY(auto plan, isolation::plan_namespaces(spec));
  // spawn_process() has seen to the pid namespace.
  plan.create &= ~CLONE_NEWPID;
  std::erase_if(plan.join, [](const auto& join) { return join.flag == CLONE_NEWPID; });
  KATA_CHECK(isolation::enter_namespaces(plan));
  return isolation::prepare_container(spec, rootfs);
}

struct Prepared {
  isolation::ExecTarget target;
  UniqueFd terminal;  // the master, if there is one
};

Result<Prepared> set_up_init(const InitConfig& config) {
  KATA_TRY(oci::Spec spec, oci::parse_spec(config.json));
  KATA_CHECK(drop_agent_settings(spec.process));
  Prepared prepared;
  KATA_TRY(prepared.terminal, enter_container(spec, config.rootfs));
  KATA_CHECK(give_streams(spec.process.user.uid));
  KATA_TRY(prepared.target, isolation::become_process(spec.process));
  return prepared;
}

Result<Prepared> set_up_exec(const InitConfig& config, UniqueFd container_init) {
  KATA_TRY(oci::Process process, oci::parse_process(config.json));
  KATA_CHECK(drop_agent_settings(process));
  Prepared prepared;
  KATA_TRY(prepared.terminal, isolation::join_container(process, container_init.get()));
  container_init.reset();
  KATA_CHECK(give_streams(process.user.uid));
  KATA_TRY(prepared.target, isolation::become_process(process));
  return prepared;
}

Result<Prepared> set_up(SyncSocket& sync) {
  KATA_TRY(auto message, sync.receive());
  if (!message || message->type != MessageType::kConfig) {
    return fail(Code::kInternal, "the agent has sent no configuration");
  }
  KATA_TRY(InitConfig config, decode_config(message->body));
  if (setsid() < 0) return fail_errno("setsid");
  if (!config.rootfs.empty()) return set_up_init(config);
  UniqueFd container_init(kInitDescriptor);
  fcntl(container_init.get(), F_SETFD, FD_CLOEXEC);
  return set_up_exec(config, std::move(container_init));
}

/// Go programs, and so runc's init, end like this.
void exit_by_signal(int) {
  constexpr int kStatus = 2;
  _exit(kStatus);
}

/// As pid 1 of its namespace the process would not even notice these; as runc's init it ends by
/// them. For the time until exec_process, which resets them.
void end_by_signals() {
  struct sigaction action {};
  action.sa_handler = exit_by_signal;
  for (int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM}) sigaction(number, &action, nullptr);
}

Status await_start(SyncSocket& sync, UniqueFd terminal) {
  KATA_CHECK(sync.send(MessageType::kCreated, {}, terminal.get()));
  // The agent's copy alone decides when the terminal hangs up.
  terminal.reset();
  KATA_TRY(auto message, sync.receive());
  if (!message || message->type != MessageType::kStart) {
    return fail(Code::kCancelled, "the process is deleted before its start");
  }
  return sync.send(MessageType::kExecuting);
}

}  // namespace

int run_init(UniqueFd socket) {
  // Before the container can look at this process: no ptrace, no /proc/<pid>/exe of the agent.
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_NAME, kInitName);
  // A terminal that is given up after a failure hangs up on its session's leader, which has yet to
  // report the failure. execve comes with the default again.
  signal(SIGHUP, SIG_IGN);
  fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
  SyncSocket sync(std::move(socket));

  auto prepared = set_up(sync);
  Error error = [&] {
    if (!prepared) return prepared.error();
    end_by_signals();
    if (auto ordered = await_start(sync, std::move(prepared->terminal)); !ordered) {
      return ordered.error();
    }
    return isolation::exec_process(prepared->target);
  }();
  // If the agent has gone there is nobody left to tell.
  auto told = sync.send(MessageType::kError, encode_error(error));
  static_cast<void>(told);
  return kFailedStatus;
}

}  // namespace kata::container
