#include "agent/storage/volumes.h"

#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/storage/disks.h"
#include "agent/storage/fs_group.h"
#include "common/sys/mount.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kBlock = "b";

/// What a container's own mount of a file system has, and not the file system in the guest.
bool is_of_the_bind(const std::string& option) {
  const sys::MountOptions parsed = sys::parse_mount_options(std::span(&option, 1));
  return !parsed.propagation.empty() || parsed.id_mapped;
}

void use_numbers_in_devices(json& devices, const DeviceNumbers& numbers) {
  for (json& device : devices) {
    if (device["type"] != kBlock) continue;
    const auto found = numbers.find({device["major"], device["minor"]});
    if (found != numbers.end()) std::tie(device["major"], device["minor"]) = found->second;
  }
}

/// A mount of a file system becomes a bind of it.
VolumeMount split(const oci::Mount& wanted, std::vector<std::string>& of_bind) {
  VolumeMount file_system;
  file_system.fs_type = wanted.type;
  std::vector<std::string>& options = file_system.options = wanted.options;
  const auto of_disk = std::ranges::stable_partition(options, is_of_the_bind).begin();
  of_bind.assign(options.begin(), of_disk);
  of_bind.push_back("bind");
  options.erase(options.begin(), of_disk);
  return file_system;
}

Status mount_volume(const oci::Mount& wanted, const std::string& serial, VolumeMount file_system,
                    DiskMounts& mounts, GivenVolumes& given, json& mount) {
  const std::string name = fmt::format("volume{}", file_system.index);
  std::vector<std::string> of_bind = wanted.options;
  if (file_system.fs_type.empty()) file_system = split(wanted, of_bind);
  KATA_TRY(const fs::path place,
           mounts.mount_disk({serial, file_system.fs_type, file_system.options}, name));
  if (file_system.fs_group) KATA_CHECK(given.give_once(serial, place, *file_system.fs_group));
  mount["type"] = "bind";
  mount["source"] = place.native();
  mount["options"] = std::move(of_bind);
  return {};
}

/// For a number of the host that no disk has here, or another container's. Answers whether
/// something of the rule is left: its node may be made, and not opened.
bool keep_making(oci::DeviceRule& rule) {
  constexpr char kMake = 'm';
  const bool makes = rule.access.empty() || rule.access.contains(kMake);
  rule.access.assign(1, kMake);
  return makes;
}

template <typename Entry>
void use_number(Entry& entry, const DeviceNumbers& numbers) {
  const auto found = numbers.find({entry.major, entry.minor});
  if (found != numbers.end()) std::tie(entry.major, entry.minor) = found->second;
}

}  // namespace

Result<DeviceNumbers> find_volumes(const std::vector<Volume>& volumes) {
  DeviceNumbers numbers;
  for (const Volume& volume : volumes) {
    if (volume.on_host == DeviceNumber()) continue;
    KATA_TRY(const fs::path device, await_disk(volume.serial));
    struct stat info;
    if (stat(device.c_str(), &info) != 0) return fail_errno("stat " + device.native());
    numbers[volume.on_host] = {major(info.st_rdev), minor(info.st_rdev)};
  }
  return numbers;
}

Result<std::string> use_volumes(const oci::Spec& spec, const std::string& spec_json,
                                const std::vector<Volume>& volumes, const DeviceNumbers& numbers,
                                DiskMounts& mounts, GivenVolumes& given) {
  json changed = json::parse(spec_json);
  if (!spec.linux.devices.empty()) use_numbers_in_devices(changed["linux"]["devices"], numbers);
  for (const Volume& volume : volumes) {
    for (const VolumeMount& mount : volume.mounts) {
      if (mount.index >= spec.mounts.size())
        return fail(Code::kInvalidArgument, "volume {}: there is no mounts[{}]", volume.serial,
                    mount.index);
      KATA_CHECK(mount_volume(spec.mounts[mount.index], volume.serial, mount, mounts, given,
                              changed["mounts"][mount.index]));
    }
  }
  return changed.dump();
}

void use_numbers(oci::Resources& resources, const DeviceNumbers& numbers) {
  std::erase_if(resources.devices, [&](oci::DeviceRule& rule) {
    if (rule.type != kBlock || rule.major.value_or(-1) == -1) return false;
    const auto found = numbers.find({*rule.major, rule.minor.value_or(-1)});
    if (found != numbers.end())
      std::tie(rule.major, rule.minor) = found->second;
    else if (rule.allow)
      return !keep_making(rule);
    return false;
  });
  oci::BlockIoResources& block_io = resources.block_io;
  for (oci::WeightDevice& entry : block_io.weight_device) use_number(entry, numbers);
  for (auto* throttles : {&block_io.throttle_read_bps, &block_io.throttle_write_bps,
                          &block_io.throttle_read_iops, &block_io.throttle_write_iops})
    for (oci::ThrottleDevice& entry : *throttles) use_number(entry, numbers);
}

}  // namespace kata::storage
