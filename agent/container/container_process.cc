#include "agent/container/container_process.h"

#include <limits>
#include <utility>

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/isolation/limits.h"
#include "common/base/cleanup.h"
#include "common/log/log.h"

namespace kata::container {
namespace {

using namespace std::chrono_literals;

// How long a killed process may take to vanish; only one stuck in the kernel takes longer.
constexpr auto kDeathTimeout = 10s;

constexpr std::string_view kInitStage = "unable to start container process";

ProcessExit exit_now(uint32_t status) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
  return {status, now.tv_sec * kNanosecondsPerSecond + now.tv_nsec, false};
}

struct SyncPair {
  SyncSocket agent_end;
  UniqueFd init_end;
};

Result<SyncPair> make_sync_pair(std::chrono::milliseconds timeout) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno("make the sync socket pair");
  }
  SyncPair pair{SyncSocket(UniqueFd(ends[0])), UniqueFd(ends[1])};
  KATA_CHECK(pair.agent_end.set_timeout(timeout));
  return pair;
}

}  // namespace

ContainerProcess::ContainerProcess(const ProcessRequest& request, Stdio stdio, SyncSocket sync)
    : label_(request.label),
      role_(request.role),
      count_oom_(request.count_oom),
      oom_before_(count_oom_()),
      ports_(stdio.ports()),
      sync_(std::move(sync)),
      stdio_(std::move(stdio)) {}

Result<std::shared_ptr<ContainerProcess>> ContainerProcess::create(const Environment& environment,
                                                                   ProcessRequest request) {
  // The streams of a terminal come with it.
  StdioWanted piped = request.terminal ? StdioWanted{} : request.stdio;
  KATA_TRY(Stdio stdio, Stdio::open(environment.loop, environment.listeners, piped));
  KATA_TRY(SyncPair sync, make_sync_pair(request.answer_timeout));
  std::shared_ptr<ContainerProcess> process(
      new ContainerProcess(request, std::move(stdio), std::move(sync.agent_end)));
  KATA_CHECK(process->spawn(environment, request, std::move(sync.init_end)));
  if (auto configured = process->configure(environment, request); !configured) {
    if (auto killed = process->kill(); !killed) {
      log::error("leftover of a failed start", {{"error", killed.error().message()}});
    }
    return std::unexpected(configured.error());
  }
  return process;
}

Status ContainerProcess::spawn(const Environment& environment, ProcessRequest& request,
                               UniqueFd init_end) {
  request.spawn.executable = environment.init_executable;
  request.spawn.stdio = stdio_->child_ends();
  request.spawn.sync = init_end.get();
  auto start = [&]() -> Result<pid_t> {
    KATA_TRY(Spawned spawned, spawn_process(request.spawn));
    process_ = std::make_unique<Process>(spawned.pid, std::move(spawned.pidfd));
    return spawned.pid;
  };
  auto on_exit = [self = shared_from_this(), at_end = std::move(request.at_end)](uint32_t status) {
    ProcessExit exit = exit_now(status);
    if (at_end) at_end(exit);
    self->on_exit(exit);
  };
  KATA_CHECK(environment.reaper.spawn(start, std::move(on_exit)));
  // The process waits for its configuration before it does anything.
  KATA_CHECK(give_streams(request));
  std::lock_guard lock(mutex_);
  if (stdio_) stdio_->close_child_ends();
  return {};
}

/// open(2) checks the pipe's owner.
Status ContainerProcess::give_streams(const ProcessRequest& request) {
  auto uids = request.uids;
  if (request.spawn.user_namespace) {
    KATA_TRY(uids, isolation::read_uid_mappings(pid()));
  }
  const auto owner =
      uids.empty() ? std::optional(request.uid) : isolation::host_id(uids, request.uid);
  // The process says so itself when its user is not mapped.
  if (!owner) return {};
  for (int fd : request.spawn.stdio) {
    struct stat info {};
    if (fstat(fd, &info) != 0) return fail_errno("fstat a standard stream");
    if (!S_ISFIFO(info.st_mode)) continue;
    if (fchown(fd, *owner, static_cast<gid_t>(-1)) != 0)
      return fail_errno("chown a standard stream");
  }
  return {};
}

Status ContainerProcess::send_configuration(ProcessRequest& request) {
  for (const auto& [index, mount] : request.mounts) {
    KATA_CHECK(sync_->send(MessageType::kMount, encode_mount(index), mount.get()));
  }
  request.mounts.clear();
  return sync_->send(MessageType::kConfig, encode_config(request.config));
}

Status ContainerProcess::configure(const Environment& environment, ProcessRequest& request) {
  auto sent = send_configuration(request);
  // A process that could not even read its configuration may have said why.
  if (!sent && sent.error().code() != Code::kUnavailable) return sent;
  KATA_TRY(auto answer, sync_->receive());
  if (!answer) return std::unexpected(gone());
  if (answer->type != MessageType::kCreated) {
    return std::unexpected(decode_error(answer->body).with_stage(kInitStage));
  }
  if (auto limited = isolation::set_rlimits(request.rlimits, pid()); !limited)
    return std::unexpected(limited.error().with_stage(kInitStage));
  if (!request.terminal) return {};
  return take_terminal(environment, request.stdio, std::move(answer->descriptor));
}

Status ContainerProcess::take_terminal(const Environment& environment, StdioWanted wanted,
                                       UniqueFd master) {
  KATA_TRY(Stdio stdio, Stdio::open_terminal(environment.loop, environment.listeners, wanted,
                                             std::move(master)));
  ports_ = stdio.ports();
  std::lock_guard lock(mutex_);
  // One that has ended meanwhile is not told of its end twice: its streams end with `stdio`.
  if (state_ == State::kCreated) stdio_ = std::move(stdio);
  return {};
}

Status ContainerProcess::resize(uint32_t columns, uint32_t rows) {
  constexpr uint32_t kMax = std::numeric_limits<uint16_t>::max();
  if (columns > kMax || rows > kMax) {
    return fail(Code::kInvalidArgument, "a terminal of {} columns and {} rows: {} are possible",
                columns, rows, kMax);
  }
  std::lock_guard lock(mutex_);
  if (state_ == State::kStopped || !stdio_) {
    return fail(Code::kFailedPrecondition, "cannot resize a stopped process");
  }
  return stdio_->resize(static_cast<uint16_t>(columns), static_cast<uint16_t>(rows));
}

ContainerProcess::State ContainerProcess::state() const {
  std::lock_guard lock(mutex_);
  return state_;
}

Status ContainerProcess::start() {
  {
    std::lock_guard lock(mutex_);
    if (state_ != State::kCreated) {
      return fail(Code::kFailedPrecondition, "{} {}", label_,
                  state_ == State::kStopped ? "has stopped" : "is running already");
    }
    state_ = State::kStarting;
  }
  auto started = exchange_start();
  sync_.reset();
  if (!started) {
    // It exits by itself, if it has not been stopped: Stopped when this call has answered.
    if (auto killed = kill(); !killed) {
      log::error("leftover of a failed start", {{"error", killed.error().message()}});
    }
    return started;
  }
  std::lock_guard lock(mutex_);
  if (state_ == State::kStarting) state_ = State::kRunning;
  return {};
}

Status ContainerProcess::exchange_start() {
  auto sent = sync_->send(MessageType::kStart);
  if (!sent) return std::unexpected(gone());
  KATA_TRY(auto answer, sync_->receive());
  if (!answer) return std::unexpected(gone());
  if (answer->type == MessageType::kExecuting) {
    KATA_TRY(answer, sync_->receive());
    if (!answer) return {};
  }
  auto error = decode_error(answer->body).with_stage(kInitStage);
  // Its status is that of a failed execve, not of a kill that came too early.
  process_->wait(kDeathTimeout);
  return std::unexpected(std::move(error));
}

Error ContainerProcess::gone() {
  auto exit = process_->wait(kDeathTimeout);
  // Nobody is killed who has not come to his execve yet: that fails instead.
  if (exit && (exit->oom_killed || count_oom_() > oom_before_)) {
    return Error(Code::kResourceExhausted,
                 fmt::format("{} was OOM-killed (memory limit too low?)", role_));
  }
  return Error(Code::kAborted, fmt::format("{} has ended with status {} before its start", role_,
                                           exit ? exit->status : 0));
}

Status ContainerProcess::forbid_start() {
  std::lock_guard lock(mutex_);
  if (state_ == State::kStarting || state_ == State::kRunning) {
    return fail(Code::kFailedPrecondition, "{} is running: kill it first", label_);
  }
  state_ = State::kStopped;
  return {};
}

Status ContainerProcess::kill() const {
  auto killed = signal(SIGKILL);
  if (!killed && killed.error().code() != Code::kNotFound) return killed;
  if (process_->wait(kDeathTimeout)) return {};
  return fail(Code::kDeadlineExceeded, "{}: its process {} does not die", label_, pid());
}

void ContainerProcess::close_stdio() {
  std::optional<Stdio> closing;
  {
    std::lock_guard lock(mutex_);
    closing = std::exchange(stdio_, std::nullopt);
  }
  if (closing) closing->close();
}

void ContainerProcess::on_exit(ProcessExit exit) {
  {
    std::lock_guard lock(mutex_);
    state_ = State::kStopped;
    // On the loop's thread: does not wait.
    if (stdio_) stdio_->process_ended();
  }
  log::debug("process ended", {{"process", label_}, {"status", std::to_string(exit.status)}});
  process_->ended(exit);
}

}  // namespace kata::container
