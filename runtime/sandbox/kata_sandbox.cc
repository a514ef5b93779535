#include "runtime/sandbox/kata_sandbox.h"

#include <fmt/ranges.h>

#include "common/base/id.h"
#include "common/log/log.h"
#include "runtime/sandbox/guest_spec.h"
#include "runtime/sandbox/pod_rules.h"
#include "runtime/sandbox/timeline.h"

namespace kata::sandbox {

using Phase = Process::Phase;

KataSandbox::KataSandbox(asio::any_io_executor executor, SandboxOptions options, Parts parts,
                         ExitHandler on_exit, OomHandler on_oom)
    : executor_(std::move(executor)),
      options_(std::move(options)),
      parts_(std::move(parts)),
      host_config_(options_.config),
      on_exit_(std::move(on_exit)),
      on_oom_(std::move(on_oom)),
      hooks_(executor_, options_.host),
      last_hooks_(executor_, options_.host),
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
    co_await run_poststop_hooks(container);
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
  KATA_CO_CHECK(check_pod(bundle.spec));
  container->hooks = bundle.spec.hooks;
  container->annotations = bundle.spec.annotations;
  KATA_CO_CHECK(configure(container->config_path, bundle.spec.annotations));
  RootfsPlan plan = plan_rootfs(std::move(rootfs));
  KATA_CO_TRY(std::vector<storage::HostDisk> volumes, storage::find_host_disks(bundle.spec));
  container->limits.update(bundle.spec.linux.resources);
  KATA_CO_TRY(VmWanted wanted, wanted_vm(bundle.spec, container->limits));
  // Of CRI's pods, whose first container has none, others may come with volumes.
  wanted.with_disks = plan.disks.has_value() || !volumes.empty() || is_of_cri(bundle.spec);
  KATA_CO_CHECK(co_await ensure_booted(std::move(wanted)));
  KATA_CO_CHECK(check_not_stopping());
  KATA_CO_TRY(auto vm, running_vm());
  KATA_CO_CHECK(co_await make_room());
  if (container->limits.has_hugepages()) KATA_CO_CHECK(co_await vm->await_memory());
  KATA_CO_TRY(container->storage, parts_.open_storage(vm->binds(), container->id));
  // A relative root.path is relative to the bundle; an absolute one replaces it.
  const std::filesystem::path bundle_rootfs = container->bundle / bundle.spec.root.path;
  KATA_CO_TRY(agent_client::ContainerRoot root,
              co_await provide_root(container, std::move(plan), bundle_rootfs));
  KATA_CO_CHECK(co_await provide_volumes(container, std::move(volumes)));
  KATA_CO_CHECK(co_await run_create_hooks(container));
  KATA_CO_CHECK(running_vm());
  std::set<uint32_t> on_disks;
  for (const auto& [disk, serial] : container->volumes)
    for (const storage::VolumeMount& mount : disk.mounts) on_disks.insert(mount.index);
  KATA_CO_TRY(agent_client::ContainerSpec spec,
              make_guest_spec(bundle, pod_init(), on_disks, *container->storage));
  container->filter = GuestFilter(options_.config.hypervisor, bundle.spec);
  if (const auto& keys = container->filter.taken_away(); !keys.empty())
    log::warning("parts of the specification are the host's, and not applied in the guest",
                 {{"container", container->id}, {"keys", fmt::format("{}", fmt::join(keys, " "))}});
  spec.oci_json = container->filter.of_spec(std::move(spec.oci_json));
  for (const auto& [disk, serial] : container->volumes)
    spec.volumes.push_back({serial, disk.major, disk.minor, disk.mounts});
  co_return co_await build_in_guest(container, std::move(spec), std::move(root));
}

/// containerd names a pod by its first container.
PodInit KataSandbox::pod_init() const {
  const auto first = find(options_.id);
  const bool is_there = first && !(*first)->init->exited.is_set();
  return {.host_pid = vm_pid_, .guest_pid = is_there ? (*first)->init->guest_pid : 0};
}

Async<void> KataSandbox::build_in_guest(ContainerPtr container, agent_client::ContainerSpec spec,
                                        agent_client::ContainerRoot root) {
  auto vm = vm_;
  agent_client::StdioWanted wanted;
  wanted.in = container->init->io->wants_stdin();
  wanted.out = container->init->io->wants_stdout();
  wanted.err = container->init->io->wants_stderr();
  KATA_CO_TRY(const agent_client::CreatedProcess created,
              co_await vm->agent().create_container(container->id, spec, root, wanted));
  container->in_guest = true;
  container->init->guest_pid = created.guest_pid;
  co_return co_await connect_stdio(container->init, created.ports);
}

/// A VM that dies meanwhile has taken the container along.
Async<void> KataSandbox::discard_in_guest(ContainerPtr container) {
  auto vm = vm_;
  if (container->in_guest && running_vm()) {
    auto deleted = co_await vm->agent().delete_container(container->id);
    if (!deleted) {
      const bool vm_ended = co_await is_end_of_vm(vm, deleted.error());
      if (!vm_ended) co_return deleted;
    }
  }
  container->in_guest = false;
  co_return Status{};
}

/// Takes away everything that a container has on both sides. Goes on after a failure and answers
/// the first.
Async<void> KataSandbox::discard(ContainerPtr container) {
  Status first_failure;
  auto note = [&first_failure](const Status& status) {
    if (!status && first_failure) first_failure = status;
  };
  note(co_await discard_in_guest(container));
  co_await release_disks(container);
  container->init->io->cancel();
  for (auto& [exec_id, exec] : container->execs) exec->io->cancel();
  if (container->storage) note(container->storage->remove());
  container->storage.reset();
  co_return first_failure;
}

}  // namespace kata::sandbox
