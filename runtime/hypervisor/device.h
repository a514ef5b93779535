// Devices of a VM as plain values: what storage, network and vsock return, and what the launchers
// render, before boot as arguments or XML and later as hotplug.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

namespace kata::hypervisor {

/// vhost-user-vsock-pci whose back end listens on `socket` (QEMU connects as the client).
struct VhostUserVsock {
  std::filesystem::path socket;
};

/// vhost-vsock-pci on the host kernel's /dev/vhost-vsock. `vhost_fd` is borrowed and must stay open
/// until the VM has been launched.
struct KernelVsock {
  uint32_t guest_cid = 0;
  int vhost_fd = -1;
};

/// vhost-user-fs-pci served by a virtiofsd that listens on `socket`.
struct VhostUserFs {
  std::filesystem::path socket;
  std::string tag;
};

/// virtio-blk-pci on a raw image or a block device of the host. Its format is never probed: what
/// the bytes look like is the image's doing. Flushes of the guest reach the file; one that is
/// read-only may serve many VMs.
struct Block {
  std::filesystem::path file;
  bool read_only = false;
  /// What the guest finds it by: 1 to 20 letters, digits or dashes (VIRTIO 1.2, section 5.2.6:
  /// VIRTIO_BLK_T_GET_ID).
  std::string serial;
};

/// virtio-net-pci on a tap of the host that was opened with IFF_VNET_HDR. The descriptors are
/// borrowed and must stay open until the VM has been launched, or has answered to attach().
struct NetworkCard {
  /// One for each queue pair (VIRTIO 1.2, section 5.1.2); several: opened with IFF_MULTI_QUEUE.
  std::vector<int> tap_fds;
  /// Of /dev/vhost-net, as many; none: QEMU moves the packets itself.
  std::vector<int> vhost_fds;
  std::string mac;
};

/// What memory comes and goes in: a huge page of the host.
inline constexpr uint64_t kHotMemoryBlockMib = 2;

/// virtio-mem-pci (VIRTIO 1.2, section 5.15): memory that comes and goes while the guest runs, from
/// nothing to `max_mib`, in such blocks. A VM has at most one.
struct HotMemory {
  uint64_t max_mib = 0;
  /// Of the host (VmConfig::hugepages).
  bool in_hugepages = false;
};

using Device =
    std::variant<VhostUserVsock, KernelVsock, VhostUserFs, Block, NetworkCard, HotMemory>;

}  // namespace kata::hypervisor
