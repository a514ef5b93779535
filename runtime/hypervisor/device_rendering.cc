#include "runtime/hypervisor/device_rendering.h"

#include <type_traits>

#include <sys/un.h>

namespace kata::hypervisor {
namespace {

/// QEMU's limit for the tag: struct virtio_fs_config, VIRTIO 1.2 section 5.11.4.
constexpr size_t kMaxFsTagBytes = 36;
/// First CID that is a guest's (0 is the hypervisor, 1 local, 2 the host).
constexpr uint32_t kFirstGuestCid = 3;

Status check_socket(const std::filesystem::path& socket) {
  if (socket.native().size() >= sizeof(sockaddr_un::sun_path))
    return fail(Code::kInvalidArgument,
                "the socket path '{}' has {} characters, a socket can have {}: set a shorter "
                "state_root",
                socket.native(), socket.native().size(), sizeof(sockaddr_un::sun_path) - 1);
  return {};
}

Result<RenderedDevice> render(const VhostUserVsock& vsock, const std::string& id,
                              const std::string&) {
  KATA_CHECK(check_socket(vsock.socket));
  const std::string chardev = id + "-socket";
  return RenderedDevice{
      .chardev_id = chardev,
      .chardev_socket = vsock.socket.native(),
      .device = {{"driver", "vhost-user-vsock-pci"}, {"id", id}, {"chardev", chardev}}};
}

Result<RenderedDevice> render(const KernelVsock& vsock, const std::string& id,
                              const std::string& vhost_fd_name) {
  if (vsock.guest_cid < kFirstGuestCid || vsock.vhost_fd < 0)
    return fail(Code::kInvalidArgument, "the kernel's vsock needs a guest CID from 3 on, not {}",
                vsock.guest_cid);
  return RenderedDevice{.chardev_id = {},
                        .chardev_socket = {},
                        .device = {{"driver", "vhost-vsock-pci"},
                                   {"id", id},
                                   {"guest-cid", vsock.guest_cid},
                                   {"vhostfd", vhost_fd_name}}};
}

Result<RenderedDevice> render(const VhostUserFs& fs, const std::string& id, const std::string&) {
  KATA_CHECK(check_socket(fs.socket));
  if (fs.tag.empty() || fs.tag.size() > kMaxFsTagBytes)
    return fail(Code::kInvalidArgument, "the virtiofs tag '{}' must have 1 to {} characters",
                fs.tag, kMaxFsTagBytes);
  const std::string chardev = id + "-socket";
  return RenderedDevice{
      .chardev_id = chardev,
      .chardev_socket = fs.socket.native(),
      .device = {
          {"driver", "vhost-user-fs-pci"}, {"id", id}, {"chardev", chardev}, {"tag", fs.tag}}};
}

}  // namespace

Result<RenderedDevice> render_device(const Device& device, const std::string& id,
                                     const std::string& vhost_fd_name) {
  return std::visit([&](const auto& value) { return render(value, id, vhost_fd_name); }, device);
}

std::string device_id(size_t place) { return fmt::format("dev{}", place); }

std::string function_id(size_t place, size_t function) {
  return fmt::format("dev{}-{}", place, function);
}

std::string root_port_id(size_t place) { return fmt::format("rp{}", place); }

std::string escape_option(std::string_view value) {
  std::string escaped;
  for (const char c : value) {
    if (c == ',') escaped += ',';
    escaped += c;
  }
  return escaped;
}

}  // namespace kata::hypervisor
