#include "agent/isolation/devices.h"

#include <algorithm>
#include <array>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "agent/isolation/user_namespace.h"
#include "common/sys/mount.h"
#include "common/sys/scoped_path.h"

namespace kata::isolation {

namespace {

constexpr mode_t kDefaultMode = 0666;
constexpr mode_t kPermissionBits = 07777;
const dev_t kNullDevice = makedev(1, 3);

struct DefaultDevice {
  const char* path;
  uint32_t major;
  uint32_t minor;
};
constexpr auto kDefaultDevices = std::to_array<DefaultDevice>({
    {"/dev/null", 1, 3},
    {"/dev/random", 1, 8},
    {"/dev/full", 1, 7},
    {"/dev/tty", 5, 0},
    {"/dev/zero", 1, 5},
    {"/dev/urandom", 1, 9},
});

struct Link {
  const char* target;
  const char* path;
};
constexpr auto kLinks = std::to_array<Link>({
    {"/proc/self/fd", "/dev/fd"},
    {"/proc/self/fd/0", "/dev/stdin"},
    {"/proc/self/fd/1", "/dev/stdout"},
    {"/proc/self/fd/2", "/dev/stderr"},
});

bool brings_own_dev(const oci::Spec& spec) {
  return std::ranges::any_of(spec.mounts, [](const oci::Mount& mount) {
    auto is_dev = mount.destination == "/dev" || mount.destination == "/dev/";
    return is_dev && mount.type == "bind";
  });
}

mode_t node_mode(const oci::Device& device) {
  mode_t type = device.type == oci::DeviceType::kBlock  ? S_IFBLK
                : device.type == oci::DeviceType::kChar ? S_IFCHR
                                                        : S_IFIFO;
  return type | (device.file_mode.value_or(kDefaultMode) & kPermissionBits);
}

/// For file systems that take no device nodes: the guest's own node of that path, if it is the same
/// device.
Status bind_guest_device(const oci::Device& device, int rootfs) {
  struct stat info;
  if (::stat(device.path.c_str(), &info) < 0) return fail_call(fmt::format("stat {}", device.path));
  if (info.st_rdev != makedev(device.major, device.minor))
    return fail(Code::kPermissionDenied, "mknod {}: not permitted, and the guest's is another",
                device.path);
  KATA_TRY(auto target, sys::make_file_in_root(rootfs, device.path));
  return sys::mount_on({"bind", device.path, device.path, {"bind"}}, target.get());
}

Status make_node(const oci::Device& device, int rootfs, bool own_ids) {
  // As runc, though the kernel would let some pass (FIFOs, /dev/null and its like).
  if (own_ids) return bind_guest_device(device, rootfs);
  KATA_TRY(auto place, sys::make_parent_in_root(rootfs, device.path));
  int parent = place.parent.get();
  const char* name = place.name.c_str();
  if (::mknodat(parent, name, node_mode(device), makedev(device.major, device.minor)) < 0) {
    if (errno == EEXIST) return {};
    if (errno == EPERM) return bind_guest_device(device, rootfs);
    return fail_call(fmt::format("mknod {}", device.path));
  }
  if (::fchownat(parent, name, device.uid, device.gid, AT_SYMLINK_NOFOLLOW) < 0)
    return fail_call(fmt::format("chown {}", device.path));
  return {};
}

std::vector<oci::Device> all_devices(const oci::Spec& spec) {
  std::vector<oci::Device> devices;
  const auto& wanted = spec.linux.devices;
  for (const auto& entry : kDefaultDevices)
    if (std::ranges::find(wanted, entry.path, &oci::Device::path) == wanted.end())
      devices.push_back(
          {oci::DeviceType::kChar, entry.path, entry.major, entry.minor, kDefaultMode, 0, 0});
  for (const auto& device : wanted)
    // Always the link into the container's own devpts.
    if (device.path != "/dev/ptmx") devices.push_back(device);
  return devices;
}

Status make_nodes(const oci::Spec& spec, int rootfs) {
  mode_t before = ::umask(0);
  const bool own_ids = has_user_namespace(spec);
  Status status;
  for (const auto& device : all_devices(spec)) {
    status = make_node(device, rootfs, own_ids);
    if (!status) break;
  }
  ::umask(before);
  if (!status) return std::unexpected(status.error().with_stage("error creating device nodes"));
  return {};
}

Status make_link(const Link& link, int rootfs) {
  KATA_TRY(auto place, sys::make_parent_in_root(rootfs, link.path));
  if (::symlinkat(link.target, place.parent.get(), place.name.c_str()) < 0 && errno != EEXIST)
    return fail_call(fmt::format("symlink {}", link.path));
  return {};
}

Status replace_ptmx(int rootfs) {
  constexpr Link kPtmx = {"pts/ptmx", "/dev/ptmx"};
  KATA_TRY(auto place, sys::make_parent_in_root(rootfs, kPtmx.path));
  if (::unlinkat(place.parent.get(), place.name.c_str(), 0) < 0 && errno != ENOENT)
    return fail_call(fmt::format("unlink {}", kPtmx.path));
  return make_link(kPtmx, rootfs);
}

}  // namespace

Status make_devices(const oci::Spec& spec, int rootfs) {
  if (brings_own_dev(spec)) return {};
  KATA_CHECK(make_nodes(spec, rootfs));
  KATA_CHECK(replace_ptmx(rootfs));
  for (const auto& link : kLinks) KATA_CHECK(make_link(link, rootfs));
  // Only where the kernel has it.
  if (::access("/proc/kcore", F_OK) == 0) return make_link({"/proc/kcore", "/dev/core"}, rootfs);
  return {};
}

Result<UniqueFd> open_null(int root) {
  KATA_TRY(auto null, sys::open_in_root(root, "/dev/null", O_PATH | O_NOFOLLOW));
  struct stat info;
  if (::fstat(null.get(), &info) < 0) return fail_call("stat /dev/null");
  if (!S_ISCHR(info.st_mode) || info.st_rdev != kNullDevice)
    return fail(Code::kFailedPrecondition, "/dev/null of the container is not the null device");
  return null;
}

Status reopen_null_stdio(const oci::Spec& spec) {
  if (brings_own_dev(spec)) return {};
  UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail_call("open /");
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    struct stat info;
    if (::fstat(fd, &info) < 0) return fail_call(fmt::format("stat fd {}", fd));
    if (!S_ISCHR(info.st_mode) || info.st_rdev != kNullDevice) continue;
    KATA_CHECK(open_null(root.get()));
    KATA_TRY(auto null, sys::open_in_root(root.get(), "/dev/null", O_RDWR | O_NOFOLLOW));
    if (::dup3(null.get(), fd, 0) < 0) return fail_call(fmt::format("dup /dev/null to {}", fd));
  }
  return {};
}

}  // namespace kata::isolation
