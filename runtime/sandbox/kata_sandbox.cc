#include "runtime/sandbox/kata_sandbox.h"

#include <sys/utsname.h>

#include "common/agent_protocol.h"
#include "common/base/id.h"
#include "common/log/log.h"
#include "runtime/sandbox/guest_spec.h"
#include "runtime/sandbox/timeline.h"

namespace kata::sandbox {
namespace {

using Phase = Process::Phase;

/// How long after its connection broke a VM may take to end.
constexpr std::chrono::seconds kVmEndLimit{2};

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

KataSandbox::KataSandbox(asio::any_io_executor executor, SandboxOptions options, Parts parts,
                         ExitHandler on_exit, OomHandler on_oom)
    : executor_(std::move(executor)),
      options_(std::move(options)),
      parts_(std::move(parts)),
      on_exit_(std::move(on_exit)),
      on_oom_(std::move(on_oom)) {}

Result<KataSandbox::ContainerPtr> KataSandbox::find(const std::string& id) const {
  auto found = containers_.find(id);
  if (found == containers_.end() || found->second->init->phase == Phase::kCreating)
    return fail(Code::kNotFound, "container \"{}\" does not exist", id);
  return found->second;
}

Result<std::shared_ptr<PodVm>> KataSandbox::running_vm() const {
  if (!vm_ || vm_->gone().is_set()) return fail(Code::kUnavailable, "the sandbox's VM has ended");
  return vm_;
}

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
  container->init->phase = Phase::kCreated;
  container->init->pid = vm_pid_;
  asio::co_spawn(executor_, watch_exit(container->init), asio::detached);
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
  wanted.in = container->init->io->wants_stdin();
  wanted.out = container->init->io->wants_stdout();
  wanted.err = container->init->io->wants_stderr();
  KATA_CO_TRY(
      const agent_client::CreatedProcess created,
      co_await vm->agent().create_container(container->id, spec_json, guest_rootfs, wanted));
  container->in_guest = true;
  container->init->guest_pid = created.guest_pid;
  co_return co_await connect_stdio(container->init, created.ports);
}

/// Takes away everything that a container has on both sides. Goes on after a failure and answers
/// the first.
Async<void> KataSandbox::discard(ContainerPtr container) {
  Status first_failure;
  auto note = [&first_failure](const Status& status) {
    if (!status && first_failure) first_failure = status;
  };
  auto vm = vm_;
  if (container->in_guest && running_vm()) {
    auto deleted = co_await vm->agent().delete_container(container->id);
    if (!deleted) {
      // A VM that dies meanwhile has taken the container along.
      const bool vm_ended = co_await is_end_of_vm(vm, deleted.error());
      if (!vm_ended) note(deleted);
    }
  }
  container->in_guest = false;
  container->init->io->cancel();
  for (auto& [exec_id, exec] : container->execs) exec->io->cancel();
  if (container->storage) note(container->storage->remove());
  container->storage.reset();
  co_return first_failure;
}

asio::awaitable<void> KataSandbox::watch_vm(std::shared_ptr<PodVm> vm) {
  auto self = shared_from_this();
  std::string reason = co_await vm->gone().wait();
  if (stopping_) co_return;
  log::error("the VM has ended", {{"reason", reason}});
  for (auto& [id, container] : containers_)
    if (container->init->phase != Phase::kCreating) end_all_processes(*container);
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
    end_all_processes(*container);
    container->init->io->cancel();
    for (auto& [exec_id, exec] : container->execs) exec->io->cancel();
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
