#include "agent/container/container.h"

#include <chrono>
#include <utility>

#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "agent/container/spawn.h"
#include "agent/isolation/namespaces.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/log/log.h"
#include "common/oci/parse.h"

namespace kata::container {
namespace {

using namespace std::chrono_literals;

// How long killed processes may take to vanish; only one stuck in the kernel takes longer.
constexpr auto kDeathTimeout = 10s;

constexpr std::string_view kInitStage = "unable to start container process";

int64_t wall_clock_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
  return now.tv_sec * kNanosecondsPerSecond + now.tv_nsec;
}

Result<oci::Spec> parse_request(const CreateRequest& request) {
  KATA_CHECK(validate_id("container id", request.id));
  if (!request.rootfs.starts_with('/')) {
    return fail(Code::kInvalidArgument, "rootfs \"{}\" is not an absolute path", request.rootfs);
  }
  KATA_TRY(oci::Spec spec, oci::parse_spec(request.spec_json));
  if (spec.process.terminal) {
    return fail(Code::kUnimplemented, "process.terminal: the agent offers pipes only, no terminal");
  }
  if (auto keys = oci::not_enforced(spec); !keys.empty()) {
    log::warning("parts of the spec are not applied yet",
                 {{"container", request.id}, {"keys", fmt::format("{}", fmt::join(keys, " "))}});
  }
  return spec;
}

struct SyncPair {
  SyncSocket agent_end;
  UniqueFd init_end;
};

Result<SyncPair> make_sync_pair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno("make the sync socket pair");
  }
  return SyncPair{SyncSocket(UniqueFd(ends[0])), UniqueFd(ends[1])};
}

}  // namespace

Container::Container(std::string id, isolation::Cgroup cgroup, Stdio stdio, SyncSocket sync)
    : id_(std::move(id)),
      cgroup_(std::move(cgroup)),
      ports_(stdio.ports()),
      sync_(std::move(sync)),
      stdio_(std::move(stdio)) {}

Result<std::shared_ptr<Container>> Container::create(const Environment& environment,
                                                     const CreateRequest& request) {
  KATA_TRY(oci::Spec spec, parse_request(request));
  KATA_TRY(auto cgroup, isolation::Cgroup::create(request.id, environment.cgroup_root));
  std::shared_ptr<Container> container;
  CleanupStack cleanup;  // last: it runs while the others still exist
  cleanup.add([&] {
    Status removed = container ? container->kill_and_remove() : cgroup.remove(kDeathTimeout);
    if (!removed) {
      log::error("leftovers of a failed create",
                 {{"container", request.id}, {"error", removed.error().message()}});
    }
  });
  KATA_CHECK(cgroup.apply(spec.linux.resources));
  KATA_TRY(Stdio stdio, Stdio::open(environment.loop, environment.listeners, request.stdio));
  KATA_TRY(SyncPair sync, make_sync_pair());
  container.reset(
      new Container(request.id, std::move(cgroup), std::move(stdio), std::move(sync.agent_end)));
  KATA_CHECK(container->spawn(environment, spec, std::move(sync.init_end)));
  KATA_CHECK(container->configure(request));
  cleanup.release();
  return container;
}

Status Container::spawn(const Environment& environment, const oci::Spec& spec, UniqueFd init_end) {
  KATA_TRY(auto plan, isolation::plan_namespaces(spec));
  SpawnRequest request;
  request.executable = environment.init_executable;
  request.stdio = stdio_->child_ends();
  request.sync = init_end.get();
  request.cgroup = cgroup_.descriptor();
  request.new_pid_namespace = (plan.create & CLONE_NEWPID) != 0;
  for (const auto& join : plan.join) {
    if (join.flag == CLONE_NEWPID) request.join_pid_namespace = join.path;
  }
  own_pid_namespace_ = request.new_pid_namespace;
  auto start = [&]() -> Result<pid_t> {
    KATA_TRY(Spawned spawned, spawn_init(request));
    init_ = std::make_shared<Process>(spawned.pid, std::move(spawned.pidfd));
    return spawned.pid;
  };
  KATA_CHECK(environment.reaper.spawn(
      start, [self = shared_from_this()](uint32_t status) { self->on_exit(status); }));
  std::lock_guard lock(mutex_);
  if (stdio_) stdio_->close_child_ends();
  return {};
}

Status Container::configure(const CreateRequest& request) {
  InitConfig config{request.rootfs, request.spec_json};
  auto sent = sync_.send(MessageType::kConfig, encode_config(config));
  // An init that could not even read its configuration may have said why.
  if (!sent && sent.error().code() != Code::kUnavailable) return sent;
  KATA_TRY(auto answer, sync_.receive());
  if (!answer) return std::unexpected(init_gone());
  if (answer->type == MessageType::kCreated) return {};
  return std::unexpected(decode_error(answer->body).with_stage(kInitStage));
}

Status Container::start() {
  {
    std::lock_guard lock(mutex_);
    if (state_ != State::kCreated) {
      return fail(Code::kFailedPrecondition, "container {} {}", id_,
                  state_ == State::kStopped ? "has stopped" : "is running already");
    }
    state_ = State::kStarting;
  }
  auto started = exchange_start();
  if (!started) {
    // It is about to exit: Stopped when this call has answered.
    init_->wait(kDeathTimeout);
    return started;
  }
  std::lock_guard lock(mutex_);
  if (state_ == State::kStarting) state_ = State::kRunning;
  return {};
}

Status Container::exchange_start() {
  auto sent = sync_.send(MessageType::kStart);
  if (!sent) return std::unexpected(init_gone());
  KATA_TRY(auto answer, sync_.receive());
  if (!answer) return std::unexpected(init_gone());
  if (answer->type == MessageType::kExecuting) {
    KATA_TRY(answer, sync_.receive());
    if (!answer) return {};
  }
  return std::unexpected(decode_error(answer->body).with_stage(kInitStage));
}

Error Container::init_gone() {
  auto exit = init_->wait(kDeathTimeout);
  if (exit && exit->oom_killed) {
    return Error(Code::kResourceExhausted, "container init was OOM-killed (memory limit too low?)");
  }
  return Error(Code::kAborted,
               fmt::format("container init has ended with status {} before its start",
                           exit ? exit->status : 0));
}

Status Container::signal(uint32_t signal, bool all) {
  if (!all) return init_->signal(signal);
  if (signal == SIGKILL) return cgroup_.kill();
  KATA_TRY(std::vector<pid_t> pids, cgroup_.pids());
  for (pid_t pid : pids) {
    if (kill(pid, static_cast<int>(signal)) == 0 || errno == ESRCH) continue;
    return fail_errno(fmt::format("send signal {} to process {}", signal, pid));
  }
  return {};
}

Status Container::remove() {
  {
    std::lock_guard lock(mutex_);
    if (state_ == State::kStarting || state_ == State::kRunning) {
      return fail(Code::kFailedPrecondition, "container {} is running: kill it first", id_);
    }
    // No start() may come between.
    state_ = State::kStopped;
  }
  return kill_and_remove();
}

Status Container::kill_and_remove() {
  auto killed = cgroup_.kill();
  // NotFound: an earlier call has removed the group.
  if (!killed && killed.error().code() != Code::kNotFound) return killed;
  if (init_ && !init_->wait(kDeathTimeout)) {
    return fail(Code::kDeadlineExceeded, "container {}: its init does not die", id_);
  }
  return cgroup_.remove(kDeathTimeout);
}

void Container::on_exit(uint32_t status) {
  ProcessExit exit;
  exit.status = status;
  exit.at_unix_ns = wall_clock_ns();
  exit.oom_killed = cgroup_.oom_kills().value_or(0) > 0;
  {
    std::lock_guard lock(mutex_);
    state_ = State::kStopped;
  }
  // With its pid namespace the kernel has killed everything else; without one, outputs would stay
  // open for as long as any stray process lives.
  if (!own_pid_namespace_) {
    if (auto killed = cgroup_.kill(); !killed) {
      log::error("processes left", {{"container", id_}, {"error", killed.error().message()}});
    }
  }
  if (auto stdio = take_stdio()) stdio->detach();
  log::debug("container ended", {{"container", id_}, {"status", std::to_string(status)}});
  init_->ended(exit);
}

std::optional<Stdio> Container::take_stdio() {
  std::lock_guard lock(mutex_);
  return std::exchange(stdio_, std::nullopt);
}

}  // namespace kata::container
