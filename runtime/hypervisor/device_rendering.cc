#include "runtime/hypervisor/device_rendering.h"

#include <algorithm>
#include <system_error>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include "common/base/unique_fd.h"

namespace kata::hypervisor {
namespace {

/// QEMU's limit for the tag: struct virtio_fs_config, VIRTIO 1.2 section 5.11.4.
constexpr size_t kMaxFsTagBytes = 36;
/// VIRTIO_BLK_ID_BYTES, VIRTIO 1.2 section 5.2.6.
constexpr size_t kMaxSerialBytes = 20;
/// First CID that is a guest's (0 is the hypervisor, 1 local, 2 the host).
constexpr uint32_t kFirstGuestCid = 3;
constexpr uint64_t kBytesPerMib = 1024 * 1024;

Status check_socket(const std::filesystem::path& socket) {
  if (socket.native().size() >= sizeof(sockaddr_un::sun_path))
    return fail(Code::kInvalidArgument,
                "the socket path '{}' has {} characters, a socket can have {}: set a shorter "
                "state_root",
                socket.native(), socket.native().size(), sizeof(sockaddr_un::sun_path) - 1);
  return {};
}

Result<RenderedDevice> render(const VhostUserVsock& vsock, const std::string& id, const NameFd&) {
  KATA_CHECK(check_socket(vsock.socket));
  const std::string chardev = id + "-socket";
  return RenderedDevice{
      .object = {},
      .chardev_id = chardev,
      .chardev_socket = vsock.socket.native(),
      .blockdev = {},
      .netdev = {},
      .device = {{"driver", "vhost-user-vsock-pci"}, {"id", id}, {"chardev", chardev}}};
}

Result<RenderedDevice> render(const KernelVsock& vsock, const std::string& id,
                              const NameFd& name_fd) {
  if (vsock.guest_cid < kFirstGuestCid || vsock.vhost_fd < 0)
    return fail(Code::kInvalidArgument, "the kernel's vsock needs a guest CID from 3 on, not {}",
                vsock.guest_cid);
  return RenderedDevice{.object = {},
                        .chardev_id = {},
                        .chardev_socket = {},
                        .blockdev = {},
                        .netdev = {},
                        .device = {{"driver", "vhost-vsock-pci"},
                                   {"id", id},
                                   {"guest-cid", vsock.guest_cid},
                                   {"vhostfd", name_fd(vsock.vhost_fd)}}};
}

Result<RenderedDevice> render(const VhostUserFs& fs, const std::string& id, const NameFd&) {
  KATA_CHECK(check_socket(fs.socket));
  if (fs.tag.empty() || fs.tag.size() > kMaxFsTagBytes)
    return fail(Code::kInvalidArgument, "the virtiofs tag '{}' must have 1 to {} characters",
                fs.tag, kMaxFsTagBytes);
  const std::string chardev = id + "-socket";
  return RenderedDevice{
      .object = {},
      .chardev_id = chardev,
      .chardev_socket = fs.socket.native(),
      .blockdev = {},
      .netdev = {},
      .device = {
          {"driver", "vhost-user-fs-pci"}, {"id", id}, {"chardev", chardev}, {"tag", fs.tag}}};
}

bool is_serial_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

/// QEMU shows disks with sectors of 512 bytes, whatever the device has: partition tables and file
/// systems of one would be unreadable on the other. 0: the device does not say, and QEMU's error
/// comes first.
int sector_bytes(const std::filesystem::path& device) {
  const UniqueFd fd(open(device.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  int bytes = 0;
  return fd && ioctl(fd.get(), BLKSSZGET, &bytes) == 0 ? bytes : 0;
}

Result<RenderedDevice> render(const Block& block, const std::string& id, const NameFd&) {
  if (block.serial.empty() || block.serial.size() > kMaxSerialBytes ||
      !std::ranges::all_of(block.serial, is_serial_character))
    return fail(Code::kInvalidArgument,
                "the disk's serial '{}' must have 1 to {} letters, digits or dashes", block.serial,
                kMaxSerialBytes);
  std::error_code error;
  const auto status = std::filesystem::status(block.file, error);
  if (error) return fail_errno(fmt::format("disk {}", block.file.native()), error.value());
  const bool is_device = std::filesystem::is_block_file(status);
  if (!is_device && !std::filesystem::is_regular_file(status))
    return fail(Code::kInvalidArgument, "disk {} is neither a file nor a block device",
                block.file.native());
  const std::string node = id + "-disk";
  nlohmann::json file = {{"driver", is_device ? "host_device" : "file"},
                         {"filename", block.file.native()}};
  // What the guest discards is given back to the host's file system.
  nlohmann::json blockdev = {{"driver", "raw"},
                             {"node-name", node},
                             {"read-only", block.read_only},
                             {"discard", "unmap"},
                             {"file", std::move(file)}};
  // The guest hears of every error: QEMU's own choice for a full file system of the host is to stop
  // the VM, and nobody here would let it go on.
  RenderedDevice rendered{.object = {},
                          .chardev_id = {},
                          .chardev_socket = {},
                          .blockdev = std::move(blockdev),
                          .netdev = {},
                          .device = {{"driver", "virtio-blk-pci"},
                                     {"id", id},
                                     {"drive", node},
                                     {"serial", block.serial},
                                     {"werror", "report"},
                                     {"rerror", "report"}}};
  if (const int sector = is_device ? sector_bytes(block.file) : 0; sector > 0)
    rendered.device.update({{"logical_block_size", sector}, {"physical_block_size", sector}});
  return rendered;
}

/// As QEMU takes lists of them.
std::string name_fds(const std::vector<int>& fds, const NameFd& name_fd) {
  std::vector<std::string> names;
  for (const int fd : fds) names.push_back(name_fd(fd));
  return fmt::to_string(fmt::join(names, ":"));
}

Result<RenderedDevice> render(const NetworkCard& card, const std::string& id,
                              const NameFd& name_fd) {
  const std::string netdev_id = id + "-tap";
  if (card.tap_fds.empty() ||
      (!card.vhost_fds.empty() && card.vhost_fds.size() != card.tap_fds.size()))
    return fail(Code::kInvalidArgument, "a network card of {} queues with {} of vhost",
                card.tap_fds.size(), card.vhost_fds.size());
  const bool has_several = card.tap_fds.size() > 1;
  nlohmann::json netdev = {{"type", "tap"}, {"id", netdev_id}};
  netdev[has_several ? "fds" : "fd"] = name_fds(card.tap_fds, name_fd);
  if (!card.vhost_fds.empty()) {
    netdev["vhost"] = true;
    netdev[has_several ? "vhostfds" : "vhostfd"] = name_fds(card.vhost_fds, name_fd);
  }
  // Nobody boots from the network: no ROM for it.
  return RenderedDevice{.object = {},
                        .chardev_id = {},
                        .chardev_socket = {},
                        .blockdev = {},
                        .netdev = std::move(netdev),
                        .device = {{"driver", "virtio-net-pci"},
                                   {"id", id},
                                   {"netdev", netdev_id},
                                   {"mac", card.mac},
                                   {"mq", has_several},
                                   {"romfile", ""}}};
}

Result<RenderedDevice> render(const HotMemory& memory, const std::string&, const NameFd&) {
  if (memory.max_mib == 0 || memory.max_mib % kHotMemoryBlockMib != 0)
    return fail(Code::kInvalidArgument, "{} MiB of hot memory: it comes in blocks of {} MiB",
                memory.max_mib, kHotMemoryBlockMib);
  const std::string backend = std::string(kHotMemoryId) + "-ram";
  // Shared, as all of the guest's RAM: the back ends of the VM's devices map it. Nothing of it is
  // used before the guest has it.
  RenderedDevice rendered{
      .object = {{"qom-type", "memory-backend-memfd"},
                 {"id", backend},
                 {"size", memory.max_mib * kBytesPerMib},
                 {"share", true},
                 {"reserve", false}},
      .chardev_id = {},
      .chardev_socket = {},
      .blockdev = {},
      .netdev = {},
      .device = {{"driver", "virtio-mem-pci"}, {"id", kHotMemoryId}, {"memdev", backend}}};
  if (memory.in_hugepages) {
    rendered.object.update({{"hugetlb", true}, {"hugetlbsize", kHotMemoryBlockMib * kBytesPerMib}});
    // QEMU refuses then what the host has no pages for, rather than die when the guest uses it.
    rendered.device["prealloc"] = true;
  }
  return rendered;
}

}  // namespace

Result<RenderedDevice> render_device(const Device& device, const std::string& id,
                                     const NameFd& name_fd) {
  return std::visit([&](const auto& value) { return render(value, id, name_fd); }, device);
}

std::string device_id(size_t index) { return fmt::format("dev{}", index); }

std::string root_port_id(uint32_t port) { return fmt::format("rp{}", port); }

std::string function_id(uint32_t port, size_t function) {
  return fmt::format("dev{}-{}", port, function);
}

void place_in_slot(nlohmann::json& device, uint32_t port, size_t function, size_t count) {
  device["bus"] = root_port_id(port);
  device["addr"] = fmt::format("0.{}", function);
  if (function == 0 && count > 1) device["multifunction"] = true;
}

std::string escape_option(std::string_view value) {
  std::string escaped;
  for (const char c : value) {
    if (c == ',') escaped += ',';
    escaped += c;
  }
  return escaped;
}

}  // namespace kata::hypervisor
