// The part of KataSandbox that gives a container its root, a directory of the share or disks, and
// its block volumes.
#include "common/agent_protocol.h"
#include "common/log/log.h"
#include "runtime/sandbox/kata_sandbox.h"

namespace kata::sandbox {

RootfsPlan KataSandbox::plan_rootfs(std::vector<RootfsMount> rootfs) const {
  RootfsPlan plan;
  for (RootfsMount& mount : rootfs) {
    sys::MountEntry& entry = plan.mounts.emplace_back();
    entry.type = std::move(mount.type);
    entry.source = std::move(mount.source);
    entry.options = std::move(mount.options);
  }
  const config::Hypervisor& wanted = options_.config.hypervisor;
  const bool may_use_disks =
      !wanted.disable_block_device_use && wanted.launcher == config::LauncherChoice::kDirect;
  if (may_use_disks) plan.disks = storage::find_block_rootfs(plan.mounts);
  return plan;
}

Async<agent_client::ContainerRoot> KataSandbox::provide_root(ContainerPtr container,
                                                             RootfsPlan plan,
                                                             std::filesystem::path bundle_rootfs) {
  KATA_CO_TRY(auto vm, running_vm());
  if (plan.disks) {
    const size_t count = plan.disks->disks.size();
    if (vm->disks().has_room_for(count))
      co_return co_await provide_disks(container, *std::move(plan.disks));
    log::info("the container's root is shared: the VM has no room for its disks",
              {{"container", container->id}, {"disks", std::to_string(count)}});
  }
  KATA_CO_TRY(const std::string place,
              container->storage->mount_rootfs(std::move(plan.mounts), bundle_rootfs));
  agent_client::ContainerRoot root;
  root.directory = fmt::format("{}/{}", kShareMountPoint, place);
  co_return root;
}

Async<agent_client::ContainerRoot> KataSandbox::provide_disks(ContainerPtr container,
                                                              storage::BlockRootfs block) {
  KATA_CO_TRY(auto vm, running_vm());
  std::vector<DiskFile> files;
  for (const storage::RootDisk& disk : block.disks) files.push_back({disk.file, disk.read_only});
  auto attached = co_await vm->disks().attach(std::move(files));
  if (!attached) co_return std::unexpected(attached.error().with_stage("disks of the root"));
  container->disks = *std::move(attached);
  KATA_CO_CHECK(check_not_stopping());
  agent_client::ContainerRoot root;
  for (size_t i = 0; i < block.disks.size(); ++i) {
    agent_client::Disk& disk = root.disks.emplace_back();
    disk.serial = container->disks.serials[i];
    disk.fs_type = block.disks[i].fs_type;
    disk.options = block.disks[i].options;
  }
  if (!block.writable.empty()) {
    KATA_CO_TRY(const std::string place, container->storage->bind(block.writable, {}));
    root.upper = fmt::format("{}/{}/{}", kShareMountPoint, place, block.upper);
    root.work = fmt::format("{}/{}/{}", kShareMountPoint, place, block.work);
  }
  co_return root;
}

Async<void> KataSandbox::provide_volumes(ContainerPtr container,
                                         std::vector<storage::HostDisk> disks) {
  KATA_CO_TRY(auto vm, running_vm());
  for (const storage::HostDisk& disk : disks) {
    auto serial = co_await vm->volumes().acquire(disk);
    if (!serial) co_return std::unexpected(serial.error().with_stage("block volume"));
    container->volumes.emplace_back(disk, *serial);
  }
  co_return Status{};
}

/// The snapshotter, or whoever has attached a volume to the host, may want the files back as soon
/// as the container's removal is answered.
asio::awaitable<void> KataSandbox::release_disks(ContainerPtr container) {
  AttachedDisks disks = std::exchange(container->disks, {});
  const auto volumes = std::exchange(container->volumes, {});
  if (!running_vm()) co_return;
  auto vm = vm_;
  Status released;
  if (!disks.ports.empty()) released = co_await vm->disks().detach(std::move(disks));
  for (const auto& [disk, serial] : volumes) {
    Status volume_released = co_await vm->volumes().release(disk);
    if (released) released = volume_released;
  }
  if (released || vm->gone().is_set()) co_return;
  // The pod goes on without that port; its file is closed with the VM.
  log::error("the guest keeps a container's disk",
             {{"container", container->id}, {"error", released.error().message()}});
}

}  // namespace kata::sandbox
