#include "runtime/sandbox/kata_sandbox.h"

#include "common/agent_protocol.h"
#include "common/base/id.h"
#include "common/log/log.h"
#include "runtime/sandbox/guest_spec.h"
#include "runtime/sandbox/timeline.h"

namespace kata::sandbox {

using Phase = Process::Phase;

KataSandbox::KataSandbox(asio::any_io_executor executor, SandboxOptions options, Parts parts,
                         ExitHandler on_exit, OomHandler on_oom)
    : executor_(std::move(executor)),
      options_(std::move(options)),
      parts_(std::move(parts)),
      on_exit_(std::move(on_exit)),
      on_oom_(std::move(on_oom)),
      vm_exit_(executor_) {}

Result<KataSandbox::ContainerPtr> KataSandbox::find(const std::string& id) const {
  auto found = containers_.find(id);
  if (found == containers_.end() || found->second->init->phase == Phase::kCreating)
    return fail(Code::kNotFound, "container \"{}\" does not exist", id);
  return found->second;
}

Async<uint32_t> KataSandbox::create(CreateContainer request) {
  auto self = shared_from_this();
  KATA_CO_CHECK(validate_id("container id", request.id));
  KATA_CO_CHECK(check_not_stopping());
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
  KATA_CO_CHECK(co_await ensure_booted(bundle.spec.hostname));
  KATA_CO_CHECK(check_not_stopping());
  KATA_CO_TRY(auto vm, running_vm());
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

Async<void> KataSandbox::build_in_guest(ContainerPtr container, std::string spec_json,
                                        std::string guest_rootfs) {
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

}  // namespace kata::sandbox
