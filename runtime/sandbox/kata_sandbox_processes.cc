// The part of KataSandbox that is about single processes: a container's init and its execs.
#include <csignal>

#include "common/base/id.h"
#include "common/log/log.h"
#include "runtime/sandbox/kata_sandbox.h"
#include "runtime/sandbox/timeline.h"

namespace kata::sandbox {
namespace {

using Phase = Process::Phase;

/// What runc's init exits with when execve fails.
constexpr uint32_t kFailedStartStatus = 255;

/// How long the end of an init waits for a client that does not read its output.
constexpr std::chrono::seconds kInitDrainLimit{10};

/// The same for the delete of a process, as in runc's shim.
constexpr std::chrono::seconds kDeleteDrainLimit{2};

/// How long the news of an init's end waits for those of its execs' ends.
constexpr std::chrono::seconds kExecEndLimit{2};

ProcessExit exit_now(uint32_t status) { return {status, std::chrono::system_clock::now()}; }

std::string_view phase_name(Phase phase) {
  switch (phase) {
    case Phase::kCreating:
      return "creating";
    case Phase::kCreated:
      return "created";
    case Phase::kStarting:
      return "starting";
    case Phase::kRunning:
      return "running";
    case Phase::kStopped:
      return "stopped";
    case Phase::kRemoving:
      return "removing";
  }
  return "unknown";
}

ProcessStatus status_of(Phase phase) {
  switch (phase) {
    case Phase::kCreating:
    case Phase::kCreated:
    case Phase::kStarting:
      return ProcessStatus::kCreated;
    case Phase::kRunning:
      return ProcessStatus::kRunning;
    case Phase::kStopped:
    case Phase::kRemoving:
      return ProcessStatus::kStopped;
  }
  return ProcessStatus::kUnknown;
}

}  // namespace

Result<KataSandbox::ProcessPtr> KataSandbox::find_process(const std::string& id,
                                                          const std::string& exec_id) const {
  KATA_TRY(const ContainerPtr container, find(id));
  if (exec_id.empty()) return container->init;
  auto found = container->execs.find(exec_id);
  if (found == container->execs.end())
    return fail(Code::kNotFound, "process does not exist {}", exec_id);
  return found->second;
}

// ---- start -------------------------------------------------------------------------------------

Async<void> KataSandbox::exec(ExecProcess request) {
  auto self = shared_from_this();
  KATA_CO_CHECK(validate_id("exec id", request.exec_id));
  KATA_CO_TRY(const ContainerPtr container, find(request.container_id));
  KATA_CO_CHECK(check_exec(*container));
  auto process = std::make_shared<Process>(executor_, request.container_id, request.exec_id,
                                           std::move(request.io));
  process->spec_json = std::move(request.spec_json);
  process->phase = Phase::kCreated;
  if (!container->execs.emplace(request.exec_id, process).second)
    co_return fail(Code::kAlreadyExists, "id {}", request.exec_id);
  co_return Status{};
}

Status KataSandbox::check_exec(const Container& container) const {
  if (container.init->exited.is_set())
    return fail(Code::kFailedPrecondition, "cannot exec in a stopped state");
  if (container.paused) return fail(Code::kFailedPrecondition, "cannot exec in a paused state");
  return {};
}

Async<uint32_t> KataSandbox::start(std::string id, std::string exec_id) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ProcessPtr process, find_process(id, exec_id));
  if (process->phase != Phase::kCreated)
    co_return fail(Code::kFailedPrecondition, "cannot start a {} process",
                   phase_name(process->phase));
  KATA_CO_CHECK(running_vm());
  process->phase = Phase::kStarting;
  process->start_under_way = true;
  Status started;
  if (process->is_init())
    started = co_await start_init(process);
  else
    started = co_await start_exec(process);
  process->phase = started && !process->exited.is_set() ? Phase::kRunning : Phase::kStopped;
  if (started && process->is_init()) co_await run_poststart_hooks(process);
  process->start_under_way = false;
  process->start_finished.set(started.has_value());
  if (!started) co_return std::unexpected(started.error());
  mark_stage("started");
  co_return process->pid;
}

/// After a failure the init is gone or about to go: watch_exit() sees it.
Async<void> KataSandbox::start_init(ProcessPtr process) {
  auto vm = vm_;
  // Docker and `ctr run --cni` make the pod's network between create and start.
  KATA_CO_CHECK(co_await vm->update_network());
  KATA_CO_CHECK(co_await vm->agent().start_process(process->container_id, ""));
  asio::co_spawn(executor_, watch_oom(process), asio::detached);
  co_return Status{};
}

/// After a failure the guest knows nothing of the exec; there is no exit to report, as with runc.
Async<void> KataSandbox::start_exec(ProcessPtr process) {
  auto vm = vm_;
  auto built = co_await build_exec(process);
  if (built) {
    built = co_await vm->agent().start_process(process->container_id, process->exec_id);
    if (!built) co_await forget_exec(process);
  }
  if (!built) {
    process->exited.set(exit_now(kFailedStartStatus));
    co_return built;
  }
  process->pid = process->guest_pid;
  asio::co_spawn(executor_, watch_exit(process), asio::detached);
  co_return Status{};
}

/// The exec in the guest up to its execve, with its streams and its terminal's size.
Async<void> KataSandbox::build_exec(ProcessPtr process) {
  auto vm = vm_;
  agent_client::StdioWanted wanted;
  wanted.in = process->io->wants_stdin();
  wanted.out = process->io->wants_stdout();
  wanted.err = process->io->wants_stderr();
  KATA_CO_TRY(const ContainerPtr container, find(process->container_id));
  const std::string spec_json = container->filter.of_process(process->spec_json);
  KATA_CO_TRY(
      const agent_client::CreatedProcess created,
      co_await vm->agent().create_exec(process->container_id, process->exec_id, spec_json, wanted));
  process->guest_pid = created.guest_pid;
  Status ready = co_await connect_stdio(process, created.ports);
  if (ready && process->terminal_size)
    ready = co_await vm->agent().resize_terminal(process->container_id, process->exec_id,
                                                 *process->terminal_size);
  if (!ready) co_await forget_exec(process);
  co_return ready;
}

asio::awaitable<void> KataSandbox::forget_exec(ProcessPtr process) {
  auto vm = vm_;
  process->guest_pid = 0;
  auto deleted = co_await vm->agent().delete_exec(process->container_id, process->exec_id);
  if (!deleted && deleted.error().code() != Code::kNotFound)
    log::warning("the guest keeps an exec whose start failed",
                 {{"container", process->container_id},
                  {"exec", process->exec_id},
                  {"error", deleted.error().message()}});
}

Async<void> KataSandbox::connect_stdio(ProcessPtr process, agent_client::StdioPorts ports) {
  auto vm = vm_;
  StdioStreams streams;
  auto connect = [&vm](uint32_t port, UniqueFd& stream) -> Async<void> {
    if (port == 0) co_return Status{};
    auto dialled = co_await vm->dial(port);
    if (!dialled) co_return std::unexpected(dialled.error().with_stage("connect stdio"));
    stream = *std::move(dialled);
    co_return Status{};
  };
  KATA_CO_CHECK(co_await connect(ports.in, streams.in));
  KATA_CO_CHECK(co_await connect(ports.out, streams.out));
  KATA_CO_CHECK(co_await connect(ports.err, streams.err));
  process->io->attach(std::move(streams));
  co_return Status{};
}

// ---- exit --------------------------------------------------------------------------------------

asio::awaitable<void> KataSandbox::watch_exit(ProcessPtr process) {
  auto self = shared_from_this();
  auto vm = vm_;
  auto exit = co_await vm->agent().wait(process->container_id, process->exec_id);
  if (!exit) {
    // The usual reason is that the VM has gone: then watch_vm has the better words.
    const bool gone = co_await is_end_of_vm(vm, exit.error());
    if (!gone && exit.error().code() != Code::kNotFound)
      log::error("wait for a process", {{"container", process->container_id},
                                        {"exec", process->exec_id},
                                        {"error", exit.error().message()}});
    record_exit(process, exit_now(kVmGoneStatus));
    co_return;
  }
  if (process->is_init()) {
    // With an init everything in its container ends. A client that hears of the exit may stop
    // reading: what was written belongs before it.
    co_await drain(process, kInitDrainLimit);
    co_await await_execs(process->container_id);
  }
  record_exit(process, ProcessExit{exit->status, exit->at});
}

/// Clients learn of the ends of execs before that of their container.
asio::awaitable<void> KataSandbox::await_execs(std::string container_id) {
  auto container = find(container_id);
  if (!container) co_return;
  auto execs = (*container)->execs;
  for (const auto& [exec_id, exec] : execs)
    if (exec->runs()) co_await exec->exited.wait_for(kExecEndLimit);
}

/// Waits until the client has read all output, or has had its time for it.
asio::awaitable<void> KataSandbox::drain(ProcessPtr process, std::chrono::seconds limit) {
  if (process->output_settled) co_return;
  process->io->process_ended();
  sys::Promise<bool> drained(executor_);
  auto await_end = [](ProcessPtr held, sys::Promise<bool> done) -> asio::awaitable<void> {
    auto result = co_await held->io->drained();
    done.set(result.has_value());
  };
  asio::co_spawn(executor_, await_end(process, drained), asio::detached);
  auto in_time = co_await drained.wait_for(limit);
  if (!in_time && !process->output_settled)
    log::warning("the client does not read the rest of the output: it is dropped",
                 {{"container", process->container_id}, {"exec", process->exec_id}});
  process->output_settled = true;
}

void KataSandbox::end_all_processes(Container& container) {
  for (auto& [exec_id, exec] : container.execs)
    if (exec->runs()) record_exit(exec, exit_now(kVmGoneStatus));
  record_exit(container.init, exit_now(kVmGoneStatus));
}

void KataSandbox::record_exit(const ProcessPtr& process, ProcessExit exit) {
  if (process->exited.is_set()) return;
  if (process->phase == Phase::kCreated || process->phase == Phase::kRunning)
    process->phase = Phase::kStopped;
  process->exited.set(exit);
  if (process->is_init()) mark_stage("exit");
  asio::co_spawn(executor_, report_exit(process), asio::detached);
}

asio::awaitable<void> KataSandbox::report_exit(ProcessPtr process) {
  auto self = shared_from_this();
  if (process->start_under_way) co_await process->start_finished.wait();
  on_exit_(process->container_id, process->exec_id, process->pid, process->exited.value());
}

// ---- calls -------------------------------------------------------------------------------------

Result<ProcessState> KataSandbox::state(const std::string& id, const std::string& exec_id) const {
  KATA_TRY(const ContainerPtr container, find(id));
  KATA_TRY(const ProcessPtr process, find_process(id, exec_id));
  ProcessState state;
  state.status = status_of(process->phase);
  state.pid = process->pid;
  state.bundle = container->bundle;
  if (container->paused && state.status == ProcessStatus::kRunning && process->is_init())
    state.status = ProcessStatus::kPaused;
  if (process->exited.is_set()) {
    state.status = ProcessStatus::kStopped;
    state.exit = process->exited.value();
  }
  return state;
}

Async<void> KataSandbox::kill(std::string id, std::string exec_id, uint32_t signal, bool all) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ProcessPtr process, find_process(id, exec_id));
  if (process->exited.is_set()) co_return fail(Code::kNotFound, "process already finished");
  if (!process->is_init() && process->guest_pid == 0)
    co_return fail(Code::kFailedPrecondition, "process not created");
  KATA_CO_TRY(auto vm, running_vm());
  const bool to_all = all && process->is_init();
  auto signalled = co_await vm->agent().signal(id, exec_id, signal, to_all);
  if (signalled) co_return signalled;
  // Nothing else would end a container whose guest hangs.
  if (signalled.error().code() == Code::kDeadlineExceeded && signal == SIGKILL &&
      process->is_init()) {
    log::error("the guest does not answer a SIGKILL: its VM is ended", {{"container", id}});
    co_return co_await vm->kill();
  }
  const bool gone = co_await is_end_of_vm(vm, signalled.error());
  if (gone) co_return fail(Code::kNotFound, "process already finished");
  co_return signalled;
}

Async<ProcessExit> KataSandbox::wait(std::string id, std::string exec_id) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ProcessPtr process, find_process(id, exec_id));
  co_return co_await process->exited.wait();
}

Async<RemovedProcess> KataSandbox::remove(std::string id, std::string exec_id) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ContainerPtr container, find(id));
  KATA_CO_TRY(const ProcessPtr process, find_process(id, exec_id));
  // Of several deletes at once one wins; to the others it is gone, as with runc.
  if (process->phase == Phase::kRemoving)
    co_return fail(Code::kNotFound, "process \"{}\" is being deleted",
                   exec_id.empty() ? id : exec_id);
  if (process->phase != Phase::kCreated && process->phase != Phase::kStopped)
    co_return fail(Code::kFailedPrecondition, "cannot delete a {} process",
                   phase_name(process->phase));
  process->phase = Phase::kRemoving;
  if (process->exited.is_set()) co_await drain(process, kDeleteDrainLimit);
  Status removed;
  if (!process->is_init()) {
    removed = co_await discard_exec(process);
  } else {
    // While the guest has the container, its disks and mounts are in use.
    removed = co_await discard_in_guest(container);
    if (removed) removed = co_await discard(container);
  }
  if (removed && process->is_init()) co_await run_poststop_hooks(container);
  if (!removed) {
    process->phase = Phase::kStopped;  // so that the client can try again
    co_return std::unexpected(removed.error());
  }
  if (process->is_init()) {
    containers_.erase(id);
    end_all_processes(*container);
  } else {
    container->execs.erase(exec_id);
    process->exited.set(exit_now(0));  // never started: nobody waits for news of it
  }
  RemovedProcess answer;
  answer.pid = process->pid;
  answer.exit = process->exited.value();
  co_return answer;
}

Async<void> KataSandbox::discard_exec(ProcessPtr process) {
  process->io->cancel();
  if (process->guest_pid == 0 || !running_vm()) co_return Status{};
  auto vm = vm_;
  auto deleted = co_await vm->agent().delete_exec(process->container_id, process->exec_id);
  if (deleted || deleted.error().code() == Code::kNotFound) co_return Status{};
  // A VM that dies meanwhile has taken the exec along.
  const bool gone = co_await is_end_of_vm(vm, deleted.error());
  if (gone) co_return Status{};
  co_return deleted;
}

Status KataSandbox::close_stdin(const std::string& id, const std::string& exec_id) {
  KATA_TRY(const ProcessPtr process, find_process(id, exec_id));
  process->io->close_stdin();
  return {};
}

Async<void> KataSandbox::resize(std::string id, std::string exec_id, uint32_t columns,
                                uint32_t rows) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ProcessPtr process, find_process(id, exec_id));
  agent_client::TerminalSize size;
  size.columns = columns;
  size.rows = rows;
  process->terminal_size = size;
  if (process->exited.is_set())
    co_return fail(Code::kFailedPrecondition, "cannot resize a stopped container");
  // Before its start the guest does not know of an exec.
  if (process->guest_pid == 0) co_return Status{};
  KATA_CO_TRY(auto vm, running_vm());
  co_return co_await vm->agent().resize_terminal(id, exec_id, size);
}

}  // namespace kata::sandbox
