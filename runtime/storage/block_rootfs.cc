#include "runtime/storage/block_rootfs.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

/// What the guest's kernel can mount.
constexpr std::array<std::string_view, 4> kFileSystems = {"ext2", "ext3", "ext4", "erofs"};

constexpr std::string_view kLayerName = "layer.erofs";
constexpr std::string_view kLayerMarker = ".erofslayer";

bool has(const std::vector<std::string>& options, std::string_view wanted) {
  return std::ranges::find(options, wanted) != options.end();
}

/// The value of "key=value", empty when there is none.
std::string value_of(const std::vector<std::string>& options, std::string_view key) {
  for (const std::string& option : options)
    if (option.starts_with(key) && option.size() > key.size() && option[key.size()] == '=')
      return option.substr(key.size() + 1);
  return "";
}

std::optional<BlockRootfs> find_single(const sys::MountEntry& mount) {
  if (std::ranges::find(kFileSystems, mount.type) == kFileSystems.end()) return std::nullopt;
  std::error_code error;
  const auto status = fs::status(mount.source, error);
  const bool is_image = fs::is_regular_file(status) && has(mount.options, "loop");
  if (error || (!is_image && !fs::is_block_file(status))) return std::nullopt;
  RootDisk disk;
  disk.file = mount.source;
  disk.fs_type = mount.type;
  disk.read_only = has(mount.options, "ro") || mount.type == "erofs";
  for (const std::string& option : mount.options)
    if (option != "loop") disk.options.push_back(option);
  BlockRootfs root;
  root.disks.push_back(std::move(disk));
  return root;
}

/// The layer that the erofs snapshotter has mounted on `directory`, <snapshot>/fs.
std::optional<RootDisk> find_layer(const fs::path& directory) {
  const fs::path snapshot = directory.parent_path();
  std::error_code error;
  if (!directory.is_absolute() || !fs::exists(snapshot / kLayerMarker, error)) return std::nullopt;
  RootDisk disk;
  disk.file = snapshot / kLayerName;
  if (!fs::is_regular_file(disk.file, error)) return std::nullopt;
  disk.read_only = true;
  disk.fs_type = "erofs";
  disk.options = {"ro"};
  return disk;
}

std::optional<BlockRootfs> find_overlay(const sys::MountEntry& mount) {
  const std::string lower = value_of(mount.options, "lowerdir");
  // Names with a colon are escaped: the snapshotter makes none.
  if (lower.empty() || lower.find('\\') != std::string::npos) return std::nullopt;
  BlockRootfs root;
  for (size_t begin = 0; begin <= lower.size();) {
    const size_t end = std::min(lower.find(':', begin), lower.size());
    auto layer = find_layer(lower.substr(begin, end - begin));
    if (!layer) return std::nullopt;
    root.disks.push_back(*std::move(layer));
    begin = end + 1;
  }
  const fs::path upper = value_of(mount.options, "upperdir");
  const fs::path work = value_of(mount.options, "workdir");
  if (upper.empty()) return root;
  // Both come to the guest by one mount, as an overlay wants it.
  if (!upper.is_absolute() || upper.parent_path() != work.parent_path()) return std::nullopt;
  root.writable = upper.parent_path();
  root.upper = upper.filename();
  root.work = work.filename();
  return root;
}

}  // namespace

std::optional<BlockRootfs> find_block_rootfs(const std::vector<sys::MountEntry>& mounts) {
  if (mounts.size() != 1) return std::nullopt;
  if (mounts.front().type == "overlay") return find_overlay(mounts.front());
  return find_single(mounts.front());
}

}  // namespace kata::storage
