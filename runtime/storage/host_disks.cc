#include "runtime/storage/host_disks.h"

#include <algorithm>
#include <optional>

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/sys/file.h"
#include "common/sys/mount.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBlock = "b";

bool names(const oci::DeviceRule& rule, const oci::Device& device) {
  return rule.allow && rule.type == kBlock && rule.major == device.major &&
         rule.minor == device.minor;
}

bool is_block_device(const fs::path& file, dev_t number) {
  struct stat info;
  return stat(file.c_str(), &info) == 0 && S_ISBLK(info.st_mode) && info.st_rdev == number;
}

/// The host's own node for a device, wherever the specification wants one. nullopt: there is no
/// such device.
Result<std::optional<fs::path>> find_node(dev_t number, const HostPlaces& places) {
  constexpr size_t kMaxUeventBytes = 4096;
  constexpr std::string_view kName = "DEVNAME=";
  const std::string id = fmt::format("{}:{}", major(number), minor(number));
  const auto uevent = sys::read_file(places.sysfs / id / "uevent", kMaxUeventBytes);
  if (!uevent && uevent.error().code() == Code::kNotFound) return std::nullopt;
  if (!uevent) return std::unexpected(uevent.error());
  const size_t begin = uevent->find(kName);
  if (begin == std::string::npos) return std::nullopt;
  const size_t name = begin + kName.size();
  const fs::path node = places.dev / uevent->substr(name, uevent->find('\n', name) - name);
  if (!is_block_device(node, number))
    return fail(Code::kNotFound, "{} is not the node of block device {}", node.native(), id);
  return node;
}

class Found {
 public:
  /// An image file has the number 0.
  HostDisk& at(const fs::path& file, dev_t number, ImageId image = {}) {
    const auto found = std::ranges::find_if(disks_, [&](const HostDisk& disk) {
      return makedev(disk.major, disk.minor) == number && disk.image == image;
    });
    if (found != disks_.end()) return *found;
    HostDisk& disk = disks_.emplace_back();
    disk.file = file;
    disk.major = major(number);
    disk.minor = minor(number);
    disk.image = image;
    disk.read_only = true;
    return disk;
  }
  std::vector<HostDisk> take() { return std::move(disks_); }

 private:
  std::vector<HostDisk> disks_;
};

bool covers(const oci::DeviceRule& rule, const oci::Device& device) {
  const auto is = [](const std::optional<int64_t>& wanted, uint32_t number) {
    return !wanted || *wanted == -1 || *wanted == number;
  };
  const bool of_type = rule.type.empty() || rule.type == "a" || rule.type == kBlock;
  return of_type && is(rule.major, device.major) && is(rule.minor, device.minor);
}

/// As the rules allow it together: each adds or takes away, in their order.
std::string access_of(const std::vector<oci::DeviceRule>& rules, const oci::Device& device) {
  std::string access;
  for (const oci::DeviceRule& rule : rules) {
    if (!covers(rule, device)) continue;
    for (const char right : rule.access.empty() ? std::string("rwm") : rule.access) {
      std::erase(access, right);
      if (rule.allow) access += right;
    }
  }
  return access;
}

bool is_read_only(dev_t number, const HostPlaces& places) {
  const fs::path file = places.sysfs / fmt::format("{}:{}", major(number), minor(number)) / "ro";
  return sys::read_file(file, 16).value_or("").starts_with('1');
}

Status find_devices(const oci::Spec& spec, const HostPlaces& places, Found& found) {
  for (size_t i = 0; i < spec.linux.devices.size(); ++i) {
    const oci::Device& device = spec.linux.devices[i];
    if (device.type != oci::DeviceType::kBlock) continue;
    const auto& rules = spec.linux.resources.devices;
    const auto of_device = [&](const oci::DeviceRule& rule) { return names(rule, device); };
    if (std::ranges::none_of(rules, of_device)) continue;
    const std::string access = access_of(rules, device);
    if (access.find_first_of("rw") == std::string::npos) continue;
    const dev_t number = makedev(device.major, device.minor);
    const auto node = find_node(number, places);
    if (!node) return std::unexpected(node.error().with_stage(fmt::format("linux.devices[{}]", i)));
    if (!*node) continue;
    HostDisk& disk = found.at(**node, number);
    if (access.contains('w') && !is_read_only(number, places)) disk.read_only = false;
  }
  return {};
}

/// The specification says what is mounted.
VolumeMount of_itself(uint32_t index) {
  VolumeMount mount;
  mount.index = index;
  return mount;
}

Status add_mount(const fs::path& file, const std::string& fs_type,
                 const std::vector<std::string>& options, VolumeMount mount,
                 const HostPlaces& places, Found& found) {
  struct stat info;
  if (stat(file.c_str(), &info) != 0) return fail_errno(fmt::format("stat {}", file.native()));
  const bool is_block = S_ISBLK(info.st_mode);
  HostDisk& disk = is_block ? found.at(file, info.st_rdev)
                            : found.at(file, 0, ImageId{info.st_dev, info.st_ino});
  disk.mounts.push_back(std::move(mount));
  const bool writes = fs_type != "erofs" && std::ranges::find(options, "ro") == options.end();
  if (writes && !(is_block && is_read_only(info.st_rdev, places))) disk.read_only = false;
  return {};
}

Status find_mounts(const oci::Spec& spec, const HostPlaces& places, Found& found) {
  for (uint32_t i = 0; i < spec.mounts.size(); ++i) {
    const oci::Mount& mount = spec.mounts[i];
    if (!mount.source.starts_with('/')) continue;
    const sys::MountOptions options = sys::parse_mount_options(mount.options);
    if (options.bind || mount.type == "bind") {
      KATA_TRY(const auto volume, find_direct_volume(mount.source, places.direct_volumes));
      Status added =
          volume ? add_mount(volume->device, volume->fs_type, volume->options,
                             {i, volume->fs_type, volume->options, volume->fs_group}, places, found)
                 : check_not_in_direct_volume(mount.source, places.direct_volumes);
      if (!added) return std::unexpected(added.error().with_stage(fmt::format("mounts[{}]", i)));
    } else if (struct stat info; stat(mount.source.c_str(), &info) == 0 && S_ISBLK(info.st_mode)) {
      KATA_CHECK(add_mount(mount.source, mount.type, mount.options, of_itself(i), places, found));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<HostDisk>> find_host_disks(const oci::Spec& spec, const HostPlaces& places) {
  Found found;
  KATA_CHECK(find_devices(spec, places, found));
  KATA_CHECK(find_mounts(spec, places, found));
  return found.take();
}

}  // namespace kata::storage
