// The part of KataSandbox that is about the pod's VM: its boot, its end and how it is.
#include <csignal>
#include <utility>

#include <sys/utsname.h>

#include "common/log/log.h"
#include "runtime/sandbox/kata_sandbox.h"
#include "runtime/sandbox/timeline.h"

namespace kata::sandbox {
namespace {

using Phase = Process::Phase;

/// How long after its connection broke a VM may take to end.
constexpr std::chrono::seconds kVmEndLimit{2};

/// How long a guest may take to write everything to its disks.
constexpr std::chrono::seconds kDisksLimit{10};

/// What a container without a hostname of its own sees with runc: the host's.
std::string host_name() {
  utsname names{};
  uname(&names);
  return names.nodename;
}

}  // namespace

asio::awaitable<bool> is_end_of_vm(std::shared_ptr<PodVm> vm, Error error) {
  if (error.code() != Code::kUnavailable) co_return false;
  auto reason = co_await vm->gone().wait_for(kVmEndLimit);
  co_return reason.has_value();
}

Result<std::shared_ptr<PodVm>> KataSandbox::running_vm() const {
  if (!vm_ || vm_->gone().is_set()) return fail(Code::kUnavailable, "the sandbox's VM has ended");
  return vm_;
}

Status KataSandbox::check_not_stopping() const {
  if (stopping_) return fail(Code::kFailedPrecondition, "the sandbox is being shut down");
  return {};
}

// ---- boot --------------------------------------------------------------------------------------

Async<uint32_t> KataSandbox::boot(std::string hostname) {
  auto self = shared_from_this();
  KATA_CO_CHECK(check_not_stopping());
  VmWanted wanted;
  wanted.hostname = hostname;
  // Its containers, their limits and their volumes are still to come.
  wanted.resizable = true;
  wanted.with_disks = true;
  KATA_CO_CHECK(co_await ensure_booted(std::move(wanted)));
  KATA_CO_CHECK(running_vm());
  co_return vm_pid_;
}

Async<void> KataSandbox::ensure_booted(VmWanted wanted) {
  if (boot_) {
    sys::Promise<Status> boot = *boot_;
    co_return co_await boot.wait();
  }
  sys::Promise<Status> boot(executor_);
  boot_ = boot;
  if (wanted.hostname.empty()) wanted.hostname = host_name();
  Status booted = co_await boot_vm(std::move(wanted));
  auto vm = std::exchange(booting_vm_, nullptr);
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

/// The VM is in booting_vm_.
Async<void> KataSandbox::boot_vm(VmWanted wanted) {
  wanted.source = parts_.templates ? VmSource::kTemplate : VmSource::kBoot;
  booting_vm_ = std::make_shared<PodVm>(executor_, options_, parts_);
  Status booted = co_await booting_vm_->boot(wanted);
  if (booted || !booting_vm_->continues_template() || stopping_) co_return booted;
  log::warning("the guest did not come up from its template and boots",
               {{"error", booted.error().message()}});
  booting_vm_ = std::make_shared<PodVm>(executor_, options_, parts_);
  wanted.source = VmSource::kBoot;
  co_return co_await booting_vm_->boot(std::move(wanted));
}

asio::awaitable<void> KataSandbox::abort_boot() {
  if (!boot_ || boot_->is_set()) co_return;
  sys::Promise<Status> boot = *boot_;
  if (auto aborted = co_await booting_vm_->abort(); !aborted)
    log::error("abort the boot", {{"error", aborted.error().message()}});
  co_await boot.wait();
}

// ---- end ---------------------------------------------------------------------------------------

asio::awaitable<void> KataSandbox::watch_vm(std::shared_ptr<PodVm> vm) {
  auto self = shared_from_this();
  std::string reason = co_await vm->gone().wait();
  ProcessExit exit{.status = 0, .at = std::chrono::system_clock::now()};
  if (!stopping_) {
    exit.status = kVmGoneStatus;
    log::error("the VM has ended", {{"reason", reason}});
    for (auto& [id, container] : containers_)
      if (container->init->phase != Phase::kCreating) end_all_processes(*container);
  }
  vm_exit_.set(exit);
}

Async<ProcessExit> KataSandbox::wait_vm() {
  auto self = shared_from_this();
  if (!vm_) co_return fail(Code::kFailedPrecondition, "the sandbox's VM has never run");
  co_return co_await vm_exit_.wait();
}

Async<void> KataSandbox::stop(std::chrono::seconds limit) {
  auto self = shared_from_this();
  stopping_ = true;
  hooks_.kill_all();
  co_await abort_boot();
  co_await end_inits(limit);
  co_await let_go_of_disks();
  for (auto& [id, container] : containers_) {
    // A create under way fails when the VM ends, and cleans up after itself.
    if (container->init->phase == Phase::kCreating) continue;
    end_all_processes(*container);
    release_storage(*container);
  }
  co_return co_await stop_vm();
}

Async<void> KataSandbox::shutdown() {
  auto self = shared_from_this();
  stopping_ = true;
  hooks_.kill_all();
  co_await abort_boot();
  co_await let_go_of_disks();
  auto containers = std::move(containers_);
  containers_.clear();
  for (auto& [id, container] : containers) {
    end_all_processes(*container);
    container->init->io->cancel();
    for (auto& [exec_id, exec] : container->execs) exec->io->cancel();
    release_storage(*container);
  }
  co_return co_await stop_vm();
}

/// Asks every container that runs to end, and gives all of them together `limit` for it.
asio::awaitable<void> KataSandbox::end_inits(std::chrono::seconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  std::vector<ProcessPtr> running;
  for (const auto& [id, container] : containers_)
    if (container->init->runs() && !container->init->exited.is_set())
      running.push_back(container->init);
  // Nobody waits for the answers: a guest that hangs has its limit, too.
  for (const ProcessPtr& init : running)
    asio::co_spawn(executor_, ask_to_end(init), asio::detached);
  for (const ProcessPtr& init : running)
    co_await init->exited.wait_for(deadline - std::chrono::steady_clock::now());
}

asio::awaitable<void> KataSandbox::ask_to_end(ProcessPtr init) {
  auto self = shared_from_this();
  auto asked = co_await kill(init->container_id, "", SIGTERM, /*all=*/false);
  if (!asked && asked.error().code() != Code::kNotFound)
    log::warning("cannot ask a container to end",
                 {{"container", init->container_id}, {"error", asked.error().message()}});
}

/// What containers have written to disks is in the guest's memory until it has unmounted them: QEMU
/// may be killed afterwards.
asio::awaitable<void> KataSandbox::let_go_of_disks() {
  if (!running_vm()) co_return;
  const auto deadline = std::chrono::steady_clock::now() + kDisksLimit;
  std::vector<sys::Promise<bool>> ends;
  for (const auto& [id, container] : containers_) {
    const bool has_disks = !container->disks.ports.empty() || !container->volumes.empty();
    if (!has_disks || !container->in_guest) continue;
    asio::co_spawn(executor_, end_in_guest(container, ends.emplace_back(executor_)),
                   asio::detached);
  }
  for (const sys::Promise<bool>& end : ends)
    co_await end.wait_for(deadline - std::chrono::steady_clock::now());
}

asio::awaitable<void> KataSandbox::end_in_guest(ContainerPtr container, sys::Promise<bool> end) {
  auto self = shared_from_this();
  auto vm = vm_;
  if (!container->init->exited.is_set()) {
    Status killed = co_await vm->agent().signal(container->id, "", SIGKILL, /*all=*/true);
    if (killed) co_await container->init->exited.wait();
  }
  // One that could not be killed is refused here, if it has not ended meanwhile.
  Status discarded = co_await discard_in_guest(container);
  if (!discarded)
    log::error("what a container has written to its disks may be lost",
               {{"container", container->id}, {"error", discarded.error().message()}});
  end.set(true);
}

void KataSandbox::release_storage(Container& container) {
  if (!container.storage) return;
  if (auto removed = container.storage->remove(); !removed)
    log::error("remove a container's storage",
               {{"container", container.id}, {"error", removed.error().message()}});
  container.storage.reset();
}

/// Once for all who ask at the same time; again after a failure.
Async<void> KataSandbox::stop_vm() {
  if (vm_stop_) {
    sys::Promise<Status> stop = *vm_stop_;
    co_return co_await stop.wait();
  }
  if (!vm_) co_return Status{};
  auto vm = vm_;
  sys::Promise<Status> stop(executor_);
  vm_stop_ = stop;
  Status stopped = co_await vm->stop();
  if (!stopped) vm_stop_.reset();
  mark_stage("teardown");
  stop.set(stopped);
  co_return stopped;
}

// ---- how it is ---------------------------------------------------------------------------------

Async<void> KataSandbox::ping() {
  auto self = shared_from_this();
  KATA_CO_TRY(auto vm, running_vm());
  co_return co_await vm->agent().ping();
}

Async<std::string> KataSandbox::pod_metrics() {
  auto self = shared_from_this();
  KATA_CO_TRY(auto vm, running_vm());
  const std::string all_containers;
  co_return co_await vm->agent().metrics(all_containers);
}

}  // namespace kata::sandbox
