#include "runtime/sandbox/pod_vm.h"

#include <array>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <sys/stat.h>

#include "common/agent_protocol.h"
#include "common/log/log.h"
#include "runtime/hypervisor/command_line.h"
#include "runtime/sandbox/host_oom.h"
#include "runtime/sandbox/state.h"
#include "runtime/sandbox/timeline.h"

namespace kata::sandbox {
namespace {

using hypervisor::VmConfig;

/// For a QEMU that has ended without ever having connected its console.
constexpr std::chrono::milliseconds kConsoleEndLimit{500};

Error timeout_error(std::chrono::seconds limit) {
  return Error(Code::kDeadlineExceeded,
               fmt::format("guest boot: the agent did not answer within {} s (dial_timeout in "
                           "configuration.toml)",
                           limit.count()));
}

}  // namespace

PodVm::PodVm(asio::any_io_executor executor, SandboxOptions options, Parts parts)
    : executor_(std::move(executor)),
      options_(std::move(options)),
      parts_(std::move(parts)),
      run_dir_(options_.config.runtime.state_root / options_.run_dir_key),
      gone_(executor_),
      share_gone_(executor_) {}

Async<void> PodVm::boot(VmWanted wanted) {
  auto self = shared_from_this();
  auto booted = co_await run_boot_steps(std::move(wanted));
  if (booted) co_return Status{};
  Error error = booted.error();
  if (Status aborted = check_not_aborted(); !aborted) {
    // Whatever the abort has made fail first.
    error = aborted.error();
  } else {
    error = co_await with_console(std::move(error));
    if (continues_template_) co_await condemn_template(co_await with_cause(error));
  }
  auto stopped = co_await stop();
  if (!stopped) log::error("clean up after a failed boot", {{"error", stopped.error().message()}});
  co_return std::unexpected(std::move(error));
}

Async<void> PodVm::run_boot_steps(VmWanted wanted) {
  KATA_CO_CHECK(describe_base());
  KATA_CO_CHECK(make_run_dir());
  std::optional<factory::SavedVm> saved;
  if (wanted.source == VmSource::kTemplate) saved = co_await find_template();
  KATA_CO_CHECK(check_not_aborted());
  // Not before: what the making of a template costs is not this pod's alone.
  KATA_CO_CHECK(enter_host_cgroup(wanted.cgroups_path));
  KATA_CO_CHECK(open_transport());
  KATA_CO_CHECK(start_share());
  mark_stage("share");
  KATA_CO_CHECK(listen_to_console());
  KATA_CO_CHECK(open_network(size_wanted(wanted).vcpus));
  KATA_CO_CHECK(save_state());
  if (saved) {
    KATA_CO_CHECK(co_await continue_template(*std::move(saved), wanted));
  } else {
    VmConfig vm = describe_vm();
    size_for(vm, wanted);
    vm.kernel_command_line = kernel_command_line(vm);
    vm.devices = pod_devices(vm);
    // An empty namespace may get its interfaces later: `ctr run --cni` and Docker make them when
    // they know of the pod. Only VMs that are ours alone take devices while they run.
    const bool takes_devices =
        options_.config.hypervisor.launcher == config::LauncherChoice::kDirect;
    if (network_ && cards_.empty() && takes_devices) vm.hotplug_ports = kLatePort + 1;
    // With ports, what the pod has from the start must fit into one: a pod with more network cards
    // than that goes without disks.
    const bool fits = vm.devices.size() <= hypervisor::kDevicesPerPort;
    if (wanted.with_disks && takes_devices && fits) vm.hotplug_ports = kRootPorts;
    KATA_CO_CHECK(co_await launch(std::move(vm)));
  }
  cards_.clear();  // QEMU has them
  KATA_CO_CHECK(check_not_aborted());
  mark_stage("qemu");
  KATA_CO_CHECK(co_await await_ready());
  KATA_CO_CHECK(check_not_aborted());
  mark_stage("agent ready");
  const auto ready_at = std::chrono::steady_clock::now();
  KATA_CO_TRY(const auto agent_setup_time, co_await greet_agent(wanted));
  KATA_CO_CHECK(check_not_aborted());
  // Only now the agent could say how much of the boot was its own. A template's is long past.
  if (!continues_template_)
    mark_past_stage("kernel", std::chrono::duration_cast<std::chrono::microseconds>(
                                  std::chrono::steady_clock::now() - ready_at + agent_setup_time));
  mark_stage("sandbox created");
  if (network_) asio::co_spawn(executor_, follow_network(), asio::detached);
  if (loopback_) asio::co_spawn(executor_, follow_loopback(), asio::detached);
  co_return Status{};
}

Async<void> PodVm::abort() {
  auto self = shared_from_this();
  aborted_ = true;
  if (template_vm_) co_return co_await template_vm_->abort();
  if (vm_) co_return co_await vm_->stop();
  co_return Status{};
}

Status PodVm::check_not_aborted() const {
  if (aborted_) return fail(Code::kCancelled, "guest boot: the sandbox was shut down meanwhile");
  return {};
}

Status PodVm::make_run_dir() {
  std::error_code error;
  std::filesystem::create_directories(run_dir_.parent_path(), error);
  // 0700: the sockets in it give full control of the pod.
  if (mkdir(run_dir_.c_str(), 0700) != 0) {
    if (errno == EEXIST)
      return fail(Code::kAlreadyExists,
                  "sandbox state {} exists: another sandbox \"{}\" runs, or one was not deleted",
                  run_dir_.native(), options_.id);
    return fail_errno(fmt::format("sandbox state: create {}", run_dir_.native()));
  }
  run_dir_made_ = true;
  return {};
}

Status PodVm::enter_host_cgroup(const std::string& cgroups_path) {
  if (cgroups_path.empty() || !options_.config.runtime.sandbox_cgroup_only) return {};
  KATA_TRY(host_cgroup_, HostCgroup::plan(cgroups_path));
  KATA_CHECK(save_state());
  return host_cgroup_->enter();
}

Status PodVm::open_transport() {
  KATA_TRY(vsock_, parts_.open_vsock(run_dir_));
  KATA_TRY(ready_listener_, vsock_->listen(kReadyPort));
  return {};
}

Status PodVm::start_share() {
  KATA_TRY(share_, parts_.start_share(run_dir_));
  binds_ = std::make_shared<storage::SharedBinds>(share_->root(), share_->server());
  asio::co_spawn(executor_, watch_share(), asio::detached);
  return {};
}

Status PodVm::listen_to_console() {
  KATA_TRY(console_, hypervisor::Console::listen(executor_, run_dir_ / "console.sock",
                                                 hypervisor::log_console_lines()));
  return {};
}

Status PodVm::describe_base() {
  const config::Hypervisor& wanted = options_.config.hypervisor;
  VmConfig vm;
  KATA_TRY(vm.accelerator, parts_.choose_accelerator());
  vm.qemu_path = wanted.path;
  vm.machine_type = wanted.machine_type;
  vm.kernel = wanted.kernel;
  vm.initrd = wanted.initrd;
  vm.vcpus = wanted.default_vcpus;
  vm.memory_mib = wanted.default_memory_mib;
  vm.seccomp_sandbox = wanted.seccomp_sandbox;
  vm.hugepages = wanted.enable_hugepages;
  vm.free_page_reporting = wanted.reclaim_guest_freed_memory;
  leave_room(vm);
  vm.kernel_command_line = kernel_command_line(vm);
  base_ = vm;
  return {};
}

std::string PodVm::kernel_command_line(const VmConfig& vm) const {
  std::string line = hypervisor::base_kernel_command_line(vm);
  if (options_.config.agent.debug) line += " agent.log=debug";
  const std::string& more = options_.config.hypervisor.kernel_params;
  if (!more.empty()) line += " " + more;
  return line;
}

VmConfig PodVm::describe_vm() const {
  VmConfig vm = base_;
  vm.name = options_.id;
  vm.run_dir = run_dir_;
  vm.console_socket = run_dir_ / "console.sock";
  return vm;
}

Async<void> PodVm::launch(VmConfig vm) {
  KATA_CO_TRY(launcher_, parts_.open_launcher());
  auto launched = co_await launcher_->launch(vm);
  // QEMU that finds nobody at the share's socket knows less of the cause than virtiofsd's last
  // words.
  if (!launched && share_gone_.is_set())
    co_return fail(Code::kUnavailable, "share: virtiofsd {}", share_gone_.value());
  if (!launched && launched.error().code() == Code::kAborted)
    co_return std::unexpected(Error(Code::kAborted, with_oom_kill(launched.error().message())));
  if (!launched) co_return std::unexpected(launched.error());
  vm_ = *std::move(launched);
  disks_.emplace(*vm_, kFirstDiskPort, vm.hotplug_ports);
  volumes_.emplace(executor_, *disks_);
  late_port_is_free_ = vm.hotplug_ports > kLatePort;
  note_size(vm);
  asio::co_spawn(executor_, watch_vm(), asio::detached);
  KATA_CO_CHECK(save_state());
  // While there was no VM to stop, watch_share() could only note it.
  if (share_gone_.is_set())
    co_return fail(Code::kUnavailable, "share: virtiofsd {}", share_gone_.value());
  co_return Status{};
}

asio::awaitable<void> PodVm::watch_vm() {
  auto self = shared_from_this();
  auto end = co_await vm_->wait_exit();
  killed_ = end && end->killed;
  std::string reason = end ? end->reason : end.error().message();
  gone_.set(killed_ && !stopping_ ? with_oom_kill(std::move(reason)) : std::move(reason));
}

std::string PodVm::with_oom_kill(std::string reason) const {
  if (!host_cgroup_) return reason;
  const auto oom_kill = describe_oom_kill(host_cgroup_->directories());
  return oom_kill ? fmt::format("{}: {}", reason, *oom_kill) : reason;
}

asio::awaitable<void> PodVm::watch_share() {
  auto self = shared_from_this();
  auto ended = co_await share_->wait_exit();
  std::string reason = ended ? *ended : ended.error().message();
  if (!stopping_) reason = with_oom_kill(std::move(reason));
  share_gone_.set(reason);
  if (stopping_ || !vm_ || gone_.is_set()) co_return;
  // Every file of the guest's containers hangs from here on: better an end that is seen.
  log::error("virtiofsd has ended: the VM is stopped", {{"reason", reason}});
  if (auto stopped = co_await vm_->stop(); !stopped)
    log::error("stop the VM", {{"error", stopped.error().message()}});
}

Async<void> PodVm::await_ready() {
  // Three things can happen first: the guest says it is ready, QEMU ends, time runs out.
  sys::Promise<Status> outcome(executor_);
  sys::Promise<bool> reader_ended(executor_);
  asio::cancellation_signal stop_reading;
  asio::co_spawn(
      executor_, read_ready_line(std::move(ready_listener_), outcome),
      asio::bind_cancellation_slot(stop_reading.slot(), [reader_ended](std::exception_ptr) mutable {
        reader_ended.set(true);
      }));
  auto end_with_vm = [](std::shared_ptr<PodVm> self,
                        sys::Promise<Status> result) -> asio::awaitable<void> {
    std::string reason = co_await self->gone_.wait();
    result.set(
        fail(Code::kUnavailable, "guest boot: QEMU ended before the agent was ready: {}", reason));
  };
  asio::co_spawn(executor_, end_with_vm(shared_from_this(), outcome), asio::detached);

  auto ready = co_await outcome.wait_for(options_.config.agent.dial_timeout);
  stop_reading.emit(asio::cancellation_type::terminal);
  // It uses the vsock back end and the signal's slot: neither may go before it.
  co_await reader_ended.wait();
  if (!ready) co_return std::unexpected(timeout_error(options_.config.agent.dial_timeout));
  co_return *ready;
}

asio::awaitable<void> PodVm::read_ready_line(UniqueFd listener, sys::Promise<Status> outcome) {
  auto self = shared_from_this();
  auto accepted = co_await vsock_->accept_from_guest(listener);
  if (!accepted) {
    outcome.set(std::unexpected(accepted.error().with_stage("guest boot: wait for the agent")));
    co_return;
  }
  asio::posix::stream_descriptor stream(executor_, accepted->release());
  // One line of known length: more bytes than these are never read from the guest.
  std::array<char, kReadyLine.size()> line{};
  size_t have = 0;
  while (have < line.size()) {
    boost::system::error_code error;
    auto rest = asio::buffer(line.data() + have, line.size() - have);
    have += co_await stream.async_read_some(rest, asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
  }
  std::string_view text(line.data(), have);
  if (text == kReadyLine)
    outcome.set(Status{});
  else
    outcome.set(fail(Code::kFailedPrecondition,
                     "guest boot: the guest speaks another protocol than this runtime (it says "
                     "{:?}): install the guest image of the same version",
                     std::string(text)));
}

Async<void> PodVm::connect_agent() {
  auto socket = co_await vsock_->dial(kAgentPort);
  if (!socket) co_return std::unexpected(socket.error().with_stage("connect to the agent"));
  agent_ = parts_.connect_agent(*std::move(socket));
  co_return Status{};
}

Async<std::chrono::microseconds> PodVm::greet_agent(VmWanted wanted) {
  KATA_CO_CHECK(co_await connect_agent());
  agent_client::Share share;
  share.tag = kShareTag;
  share.mount_point = kShareMountPoint;
  agent_client::SandboxSettings settings;
  settings.id = options_.id;
  settings.hostname = std::move(wanted.hostname);
  settings.shares.push_back(std::move(share));
  settings.shm_bytes = wanted.shm_bytes;
  auto info = co_await agent_->create_sandbox(settings);
  if (!info) co_return std::unexpected(info.error().with_stage("set up the guest"));
  log::info("sandbox is up", {{"guest_kernel", info->kernel_release},
                              {"agent_version", info->agent_version},
                              {"vm_pid", std::to_string(vm_->identity().pid)}});
  asio::co_spawn(executor_, keep_clock(), asio::detached);
  co_return info->agent_setup_time;
}

Status PodVm::save_state() const {
  State state;
  state.sandbox_id = options_.id;
  state.nspace = options_.nspace;
  if (host_cgroup_) state.cgroups = host_cgroup_->directories();
  if (vm_) state.vm = vm_->identity();
  if (share_) {
    const sys::ProcessIdentity& server = share_->server();
    state.helpers.push_back(HelperProcess{server.pid, server.start_time});
  }
  return sandbox::save_state(run_dir_, state);
}

asio::awaitable<Error> PodVm::with_console(Error error) {
  if (!console_ || !vm_) co_return error;
  // A guest that has died has written its last words, but they may not have been read yet.
  if (gone_.is_set()) {
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer limit(executor_, kConsoleEndLimit);
    co_await (console_->wait_end() || limit.async_wait(asio::use_awaitable));
  }
  std::vector<std::string> lines = console_->last_lines();
  if (lines.empty()) co_return error;
  co_return Error(error.code(), fmt::format("{}; last lines of the guest's console:\n{}",
                                            error.message(), fmt::join(lines, "\n")));
}

Async<void> PodVm::kill() {
  auto self = shared_from_this();
  co_return co_await vm_->stop();
}

Async<void> PodVm::stop() {
  auto self = shared_from_this();
  stopping_ = true;
  Status first_failure;
  auto note = [&first_failure](const Status& status) {
    if (!status && first_failure) first_failure = status;
  };
  if (vm_) note(co_await vm_->stop());
  if (share_) {
    note(co_await share_->stop(/*was_used=*/vm_ != nullptr));
    co_await share_gone_.wait();  // watch_share() still uses it
  }
  for (auto* watched : {&network_events_, &loopback_})
    if (*watched) (*watched)->close();
  if (network_) note(network_->disconnect_all());
  network_.reset();
  cards_.clear();
  share_.reset();
  console_.reset();
  vsock_.reset();
  // Whoever has put something else into it keeps it.
  if (host_cgroup_)
    if (Status left = host_cgroup_->leave(); !left)
      log::warning("the pod's control group stays", {{"error", left.error().message()}});
  // A directory that was there before belongs to somebody else.
  if (run_dir_made_ && first_failure) note(remove_leftovers(run_dir_));
  co_return first_failure;
}

}  // namespace kata::sandbox
