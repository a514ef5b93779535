// Devices of a VM as plain values: what storage, network and vsock return, and what the launchers
// render, before boot as arguments or XML and later as hotplug.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>

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

using Device = std::variant<VhostUserVsock, KernelVsock, VhostUserFs>;

}  // namespace kata::hypervisor
