#include "agent/container/init.h"

#include <algorithm>
#include <string>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/container/spawn.h"
#include "agent/container/sync.h"
#include "agent/isolation/container.h"
#include "agent/isolation/hooks.h"
#include "agent/isolation/namespaces.h"
#include "common/oci/parse.h"
#include "common/sys/file.h"

namespace kata::container {
namespace {

// What runc's init exits with when execve fails.
constexpr int kFailedStatus = 255;

/// The agent has protected itself from the OOM killer and raised its limits; a container starts
/// from what the kernel gives a process, unless its spec says otherwise.
Status drop_agent_settings(const oci::Process& process) {
  constexpr rlim_t kDefaultDescriptors = 1024;
  rlimit descriptors{};
  getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = std::min(descriptors.rlim_max, kDefaultDescriptors);
  if (setrlimit(RLIMIT_NOFILE, &descriptors) != 0) return fail_errno("reset RLIMIT_NOFILE");
  if (process.oom_score_adj) return {};
  return sys::write_existing("/proc/self/oom_score_adj", "0");
}

Result<UniqueFd> enter_container(const oci::Spec& spec, const InitConfig& config,
                                 isolation::PreparedMounts mounts) {
  KATA_TRY(auto plan, isolation::plan_namespaces(spec));
  // spawn_process() has seen to the pid namespace.
  plan.create &= ~CLONE_NEWPID;
  std::erase_if(plan.join, [](const auto& join) { return join.flag == CLONE_NEWPID; });
  KATA_CHECK(isolation::enter_namespaces(plan));
  return isolation::prepare_container(spec, config.rootfs, config.container, std::move(mounts));
}

struct Prepared {
  oci::Spec spec;  // of an init; its hooks are still to run
  isolation::ContainerInfo container;
  isolation::ExecTarget target;
  UniqueFd terminal;  // the master, if there is one
};

/// The agent sets the limits of a process that may not raise them itself (see ProcessRequest).
void leave_limits_to_agent(oci::Process& process, const InitConfig& config) {
  if ((config.namespaces & CLONE_NEWUSER) != 0) process.rlimits.clear();
}

Result<Prepared> set_up_init(const InitConfig& config, isolation::PreparedMounts mounts) {
  Prepared prepared;
  prepared.container = config.container;
  KATA_TRY(prepared.spec, oci::parse_spec(config.json));
  oci::Process& process = prepared.spec.process;
  KATA_CHECK(drop_agent_settings(process));
  leave_limits_to_agent(process, config);
  KATA_TRY(auto label, isolation::SecurityLabel::prepare(process));
  KATA_TRY(prepared.terminal, enter_container(prepared.spec, config, std::move(mounts)));
  KATA_TRY(prepared.target,
           isolation::become_process(process, {config.filter, prepared.spec.linux.personality}));
  prepared.target.label = std::move(label);
  return prepared;
}

Result<Prepared> set_up_exec(const InitConfig& config, UniqueFd container_init) {
  KATA_TRY(oci::Process process, oci::parse_process(config.json));
  KATA_CHECK(drop_agent_settings(process));
  leave_limits_to_agent(process, config);
  KATA_TRY(auto label, isolation::SecurityLabel::prepare(process));
  Prepared prepared;
  KATA_TRY(prepared.terminal, isolation::join_container(process, container_init.get(),
                                                        config.container.id, config.namespaces));
  container_init.reset();
  isolation::Inheritance inherited{config.filter, {}};
  if (!config.personality.empty()) inherited.personality = oci::Personality{config.personality, {}};
  KATA_TRY(prepared.target, isolation::become_process(process, std::move(inherited)));
  prepared.target.label = std::move(label);
  return prepared;
}

Result<Prepared> set_up(SyncSocket& sync) {
  KATA_TRY(auto message, sync.receive());
  isolation::PreparedMounts mounts;
  while (message && message->type == MessageType::kMount) {
    KATA_TRY(uint32_t index, decode_mount(message->body));
    mounts[index] = std::move(message->descriptor);
    KATA_TRY(message, sync.receive());
  }
  if (!message || message->type != MessageType::kConfig) {
    return fail(Code::kInternal, "the agent has sent no configuration");
  }
  KATA_TRY(InitConfig config, decode_config(message->body));
  if (setsid() < 0) return fail_errno("setsid");
  if (!config.rootfs.empty()) return set_up_init(config, std::move(mounts));
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
  return {};
}

/// Of an init: runs its hooks. Up to the announcement the end of this process is a failure.
Status announce_execve(SyncSocket& sync, const Prepared& prepared) {
  KATA_CHECK(isolation::run_start_hooks(prepared.spec, prepared.container, prepared.target.filter));
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
    if (auto announced = announce_execve(sync, *prepared); !announced) return announced.error();
    return isolation::exec_process(prepared->target);
  }();
  // If the agent has gone there is nobody left to tell.
  auto told = sync.send(MessageType::kError, encode_error(error));
  static_cast<void>(told);
  return kFailedStatus;
}

}  // namespace kata::container
