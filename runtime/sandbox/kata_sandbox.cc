#include "runtime/sandbox/kata_sandbox.h"

#include <csignal>

#include <sys/utsname.h>

#include "common/agent_protocol.h"
#include "common/base/id.h"
#include "common/log/log.h"
#include "runtime/sandbox/guest_spec.h"
#include "runtime/sandbox/timeline.h"

namespace kata::sandbox {
namespace {

using Phase = Container::Phase;

/// What containerd shows for a process whose VM has gone: killed by SIGKILL.
constexpr uint32_t kVmGoneStatus = 128 + SIGKILL;

/// How long a delete waits for a client that does not read its output, as runc's shim does.
constexpr std::chrono::seconds kDrainLimit{10};

/// How long after its connection broke a VM may take to end.
constexpr std::chrono::seconds kVmEndLimit{2};

ProcessExit exit_now(uint32_t status) { return {status, std::chrono::system_clock::now()}; }

/// What a container without a hostname of its own sees with runc: the host's.
std::string host_name() {
  utsname names{};
  uname(&names);
  return names.nodename;
}

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

/// Whether a call to the agent failed because its VM has ended. The connection breaks some moments
/// before QEMU's end is known.
asio::awaitable<bool> is_end_of_vm(std::shared_ptr<PodVm> vm, Error error) {
  if (error.code() != Code::kUnavailable) co_return false;
  auto reason = co_await vm->gone().wait_for(kVmEndLimit);
  co_return reason.has_value();
}

}  // namespace

KataSandbox::KataSandbox(asio::any_io_executor executor, SandboxOptions options, Parts parts,
                         ExitHandler on_exit)
    : executor_(std::move(executor)),
      options_(std::move(options)),
      parts_(std::move(parts)),
      on_exit_(std::move(on_exit)) {}

Result<KataSandbox::ContainerPtr> KataSandbox::find(const std::string& id,
                                                    const std::string& exec_id) const {
  auto found = containers_.find(id);
  if (found == containers_.end() || found->second->phase == Phase::kCreating)
    return fail(Code::kNotFound, "container \"{}\" does not exist", id);
  if (!exec_id.empty())
    return fail(Code::kNotFound, "process \"{}\" does not exist in container \"{}\"", exec_id, id);
  return found->second;
}

// ---- create ------------------------------------------------------------------------------------

Async<uint32_t> KataSandbox::create(CreateContainer request) {
  auto self = shared_from_this();
  KATA_CO_CHECK(validate_id("container id", request.id));
  if (stopping_) co_return fail(Code::kFailedPrecondition, "the sandbox is being shut down");
  std::vector<RootfsMount> rootfs = std::move(request.rootfs);
  auto container = std::make_shared<Container>(executor_, std::move(request));
  // The entry holds the id while the create is under way; find() does not see it yet.
  if (!containers_.emplace(container->id, container).second)
    co_return fail(Code::kAlreadyExists, "container \"{}\" exists already", container->id);

  auto built = co_await build(container, std::move(rootfs));
  if (!built) {
    auto discarded = co_await discard(container);
    if (!discarded)
      log::error("clean up after a failed create",
                 {{"container", container->id}, {"error", discarded.error().message()}});
    containers_.erase(container->id);
    co_return std::unexpected(built.error());
  }
  container->phase = Phase::kCreated;
  asio::co_spawn(executor_, watch_exit(container), asio::detached);
  mark_stage("container created");
  co_return vm_pid_;
}

Async<void> KataSandbox::build(ContainerPtr container, std::vector<RootfsMount> rootfs) {
  // Before the boot, so that a broken bundle costs no VM.
  KATA_CO_TRY(const BundleSpec bundle, read_bundle(container->bundle));
  const std::string hostname = bundle.spec.hostname.empty() ? host_name() : bundle.spec.hostname;
  KATA_CO_CHECK(co_await ensure_booted(hostname));

  auto vm = vm_;
  if (!vm) co_return fail(Code::kUnavailable, "the sandbox's VM has ended");
  KATA_CO_TRY(container->storage, parts_.open_storage(vm->share_root(), container->id));
  std::vector<sys::MountEntry> mounts;
  for (RootfsMount& mount : rootfs) {
    sys::MountEntry& entry = mounts.emplace_back();
    entry.type = std::move(mount.type);
    entry.source = std::move(mount.source);
    entry.options = std::move(mount.options);
  }
  // A relative root.path is relative to the bundle; an absolute one replaces it.
  const std::filesystem::path bundle_rootfs = container->bundle / bundle.spec.root.path;
  KATA_CO_TRY(const std::string place,
              container->storage->mount_rootfs(std::move(mounts), bundle_rootfs));
  KATA_CO_TRY(const std::string spec_json, make_guest_spec(bundle, *container->storage));
  const std::string guest_rootfs = fmt::format("{}/{}", kShareMountPoint, place);
  co_return co_await build_in_guest(container, spec_json, guest_rootfs);
}

Async<void> KataSandbox::ensure_booted(const std::string& hostname) {
  if (boot_) {
    sys::Promise<Status> boot = *boot_;
    co_return co_await boot.wait();
  }
  sys::Promise<Status> boot(executor_);
  boot_ = boot;
  auto vm = std::make_shared<PodVm>(executor_, options_, parts_);
  booting_vm_ = vm;
  Status booted = co_await vm->boot(hostname);
  booting_vm_.reset();
  if (booted) {
    vm_ = vm;
    vm_pid_ = vm->pid();
    asio::co_spawn(executor_, watch_vm(vm), asio::detached);
  } else {
    boot_.reset();  // the next create may try again
  }
  boot.set(booted);
  co_return booted;
}

Async<void> KataSandbox::build_in_guest(ContainerPtr container, const std::string& spec_json,
                                        const std::string& guest_rootfs) {
  auto vm = vm_;
  agent_client::StdioWanted wanted;
  wanted.in = container->io->wants_stdin();
  wanted.out = container->io->wants_stdout();
  wanted.err = container->io->wants_stderr();
  KATA_CO_TRY(
      const agent_client::CreatedProcess created,
      co_await vm->agent().create_container(container->id, spec_json, guest_rootfs, wanted));
  container->in_guest = true;
  co_return co_await connect_stdio(container, created.ports);
}

Async<void> KataSandbox::connect_stdio(ContainerPtr container, agent_client::StdioPorts ports) {
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
  container->io->attach(std::move(streams));
  co_return Status{};
}

/// Takes away everything that a container has on both sides. Goes on after a failure and answers
/// the first.
Async<void> KataSandbox::discard(ContainerPtr container) {
  Status first_failure;
  auto note = [&first_failure](const Status& status) {
    if (!status && first_failure) first_failure = status;
  };
  auto vm = vm_;
  if (container->in_guest && vm_runs()) {
    auto deleted = co_await vm->agent().delete_container(container->id);
    if (!deleted) {
      // A VM that dies meanwhile has taken the container along.
      const bool vm_ended = co_await is_end_of_vm(vm, deleted.error());
      if (!vm_ended) note(deleted);
    }
  }
  container->in_guest = false;
  container->io->cancel();
  if (container->storage) note(container->storage->remove());
  container->storage.reset();
  co_return first_failure;
}

// ---- start and exit ----------------------------------------------------------------------------

Async<uint32_t> KataSandbox::start(const std::string& id, const std::string& exec_id) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ContainerPtr container, find(id, exec_id));
  if (container->phase != Phase::kCreated)
    co_return fail(Code::kFailedPrecondition, "cannot start container \"{}\": it is {}", id,
                   phase_name(container->phase));
  if (!vm_runs()) co_return fail(Code::kUnavailable, "the sandbox's VM has ended");
  container->phase = Phase::kStarting;
  auto vm = vm_;
  auto started = co_await vm->agent().start_container(id);
  bool ended = container->exited.is_set();
  container->phase = ended ? Phase::kStopped : Phase::kRunning;
  // After a failed start the init is gone or about to go: watch_exit sees it.
  container->start_finished.set(started.has_value());
  if (!started) co_return std::unexpected(started.error());
  mark_stage("started");
  co_return vm_pid_;
}

asio::awaitable<void> KataSandbox::watch_exit(ContainerPtr container) {
  auto self = shared_from_this();
  auto vm = vm_;
  auto exit = co_await vm->agent().wait(container->id, "");
  if (exit) {
    record_exit(container, ProcessExit{exit->status, exit->at});
    co_return;
  }
  // The usual reason is that the VM has gone: then watch_vm has the better words.
  const bool vm_ended = co_await is_end_of_vm(vm, exit.error());
  if (!vm_ended)
    log::error("wait for the container's process",
               {{"container", container->id}, {"error", exit.error().message()}});
  record_exit(container, exit_now(kVmGoneStatus));
}

asio::awaitable<void> KataSandbox::watch_vm(std::shared_ptr<PodVm> vm) {
  auto self = shared_from_this();
  std::string reason = co_await vm->gone().wait();
  if (stopping_) co_return;
  log::error("the VM has ended", {{"reason", reason}});
  for (auto& [id, container] : containers_)
    if (container->phase != Phase::kCreating) record_exit(container, exit_now(kVmGoneStatus));
}

void KataSandbox::record_exit(const ContainerPtr& container, ProcessExit exit) {
  if (container->exited.is_set()) return;
  if (container->phase == Phase::kCreated || container->phase == Phase::kRunning)
    container->phase = Phase::kStopped;
  container->exited.set(exit);
  mark_stage("exit");
  asio::co_spawn(executor_, report_exit(container), asio::detached);
}

asio::awaitable<void> KataSandbox::report_exit(ContainerPtr container) {
  auto self = shared_from_this();
  if (container->phase == Phase::kStarting) co_await container->start_finished.wait();
  on_exit_(container->id, "", vm_pid_, container->exited.value());
}

// ---- the rest ----------------------------------------------------------------------------------

Result<ProcessState> KataSandbox::state(const std::string& id, const std::string& exec_id) const {
  KATA_TRY(const ContainerPtr container, find(id, exec_id));
  ProcessState state;
  state.status = status_of(container->phase);
  state.pid = vm_pid_;
  state.bundle = container->bundle;
  if (container->exited.is_set()) {
    state.status = ProcessStatus::kStopped;
    state.exit = container->exited.value();
  }
  return state;
}

Async<void> KataSandbox::kill(const std::string& id, const std::string& exec_id, uint32_t signal,
                              bool all) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ContainerPtr container, find(id, exec_id));
  if (container->exited.is_set()) co_return fail(Code::kNotFound, "process already finished");
  if (!vm_runs()) co_return fail(Code::kUnavailable, "the sandbox's VM has ended");
  auto vm = vm_;
  auto signalled = co_await vm->agent().signal(id, exec_id, signal, all);
  if (signalled) co_return signalled;
  const bool vm_ended = co_await is_end_of_vm(vm, signalled.error());
  if (vm_ended) co_return fail(Code::kNotFound, "process already finished");
  co_return signalled;
}

Async<ProcessExit> KataSandbox::wait(const std::string& id, const std::string& exec_id) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ContainerPtr container, find(id, exec_id));
  co_return co_await container->exited.wait();
}

Async<RemovedProcess> KataSandbox::remove(const std::string& id, const std::string& exec_id) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ContainerPtr container, find(id, exec_id));
  if (container->phase != Phase::kCreated && container->phase != Phase::kStopped)
    co_return fail(Code::kFailedPrecondition, "cannot delete container \"{}\": it is {}", id,
                   phase_name(container->phase));
  container->phase = Phase::kRemoving;
  if (container->exited.is_set()) {
    sys::Promise<bool> drained(executor_);
    auto drain = [](ContainerPtr held, sys::Promise<bool> done) -> asio::awaitable<void> {
      auto result = co_await held->io->drained();
      done.set(result.has_value());
    };
    asio::co_spawn(executor_, drain(container, drained), asio::detached);
    const std::optional<bool> ended = co_await drained.wait_for(kDrainLimit);
    if (!ended)
      log::warning("the client does not read the rest of the output: it is dropped",
                   {{"container", id}});
  }
  auto discarded = co_await discard(container);
  if (!discarded) {
    container->phase = Phase::kStopped;  // so that the client can try again
    co_return std::unexpected(discarded.error());
  }
  containers_.erase(id);
  if (!container->exited.is_set()) record_exit(container, exit_now(kVmGoneStatus));
  RemovedProcess removed;
  removed.pid = vm_pid_;
  removed.exit = container->exited.value();
  co_return removed;
}

Async<std::vector<uint32_t>> KataSandbox::pids(const std::string& id) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ContainerPtr container, find(id, ""));
  if (!vm_runs()) co_return fail(Code::kUnavailable, "the sandbox's VM has ended");
  auto vm = vm_;
  co_return co_await vm->agent().list_processes(id);
}

Status KataSandbox::close_stdin(const std::string& id, const std::string& exec_id) {
  KATA_TRY(const ContainerPtr container, find(id, exec_id));
  container->io->close_stdin();
  return {};
}

Async<void> KataSandbox::shutdown() {
  auto self = shared_from_this();
  stopping_ = true;
  if (boot_ && !boot_->is_set()) {
    sys::Promise<Status> boot = *boot_;
    if (auto aborted = co_await booting_vm_->abort(); !aborted)
      log::error("abort the boot", {{"error", aborted.error().message()}});
    co_await boot.wait();
  }
  auto containers = std::move(containers_);
  containers_.clear();
  for (auto& [id, container] : containers) {
    record_exit(container, exit_now(kVmGoneStatus));
    container->io->cancel();
    if (container->storage) {
      if (auto removed = container->storage->remove(); !removed)
        log::error("remove a container's storage",
                   {{"container", id}, {"error", removed.error().message()}});
      container->storage.reset();
    }
  }
  if (!vm_) co_return Status{};
  auto vm = vm_;
  auto stopped = co_await vm->stop();
  mark_stage("teardown");
  co_return stopped;
}

}  // namespace kata::sandbox
