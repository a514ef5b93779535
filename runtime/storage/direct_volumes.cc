#include "runtime/storage/direct_volumes.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>
#include <map>
#include <system_error>

#include <boost/archive/iterators/base64_from_binary.hpp>
#include <boost/archive/iterators/transform_width.hpp>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "common/sys/file.h"
#include "common/sys/mountinfo.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFileName = "mountInfo.json";
constexpr size_t kMaxFileBytes = 64 * 1024;
constexpr std::array<std::string_view, 4> kBlockTypes = {"", "block", "blk", "directvol"};
constexpr std::array<std::string_view, 2> kUnsupported = {"encryptionKey", "createFilesystem"};

/// Kubernetes' own limit; the highest number means "as it is" to the kernel.
constexpr uint32_t kMaxGroup = std::numeric_limits<int32_t>::max();

/// For URLs and file names, padded (RFC 4648, section 5).
std::string base64url(std::string_view bytes) {
  using namespace boost::archive::iterators;
  using Digits = base64_from_binary<transform_width<std::string_view::const_iterator, 6, 8>>;
  std::string text(Digits(bytes.begin()), Digits(bytes.end()));
  std::ranges::replace(text, '+', '-');
  std::ranges::replace(text, '/', '_');
  constexpr size_t kDigitsOfGroup = 4;
  while (text.size() % kDigitsOfGroup != 0) text += '=';
  return text;
}

/// An empty path would be all volumes.
Result<fs::path> directory_of(std::string_view volume_path, const fs::path& root) {
  if (!volume_path.starts_with('/'))
    return fail(Code::kInvalidArgument, "volume path: \"{}\" is not absolute", volume_path);
  return root / base64url(volume_path);
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

/// Case does not count in its keys, since it does not for those who write such files for Kata.
std::map<std::string, json> members_of(const json& object) {
  std::map<std::string, json> members;
  for (const auto& [key, value] : object.items()) members[lower(key)] = value;
  return members;
}

Result<std::string> text_of(const std::map<std::string, json>& members, std::string_view key) {
  const auto found = members.find(lower(key));
  if (found == members.end() || found->second.is_null()) return std::string();
  if (!found->second.is_string())
    return fail(Code::kInvalidArgument, "{}: it has to be a string", key);
  return found->second.get<std::string>();
}

Result<std::vector<std::string>> options_of(const std::map<std::string, json>& members) {
  std::vector<std::string> options;
  const auto found = members.find("options");
  if (found == members.end() || found->second.is_null()) return options;
  const auto is_text = [](const json& option) { return option.is_string(); };
  if (!found->second.is_array() || !std::ranges::all_of(found->second, is_text))
    return fail(Code::kInvalidArgument, "options: it has to be a list of strings");
  return found->second.get<std::vector<std::string>>();
}

Result<std::optional<FsGroup>> fs_group_of(const std::map<std::string, json>& metadata) {
  for (const std::string_view key : kUnsupported)
    if (metadata.contains(lower(key)))
      return fail(Code::kInvalidArgument, "metadata.{}: it is not supported", key);
  KATA_TRY(const std::string id, text_of(metadata, "fsGroup"));
  KATA_TRY(const std::string policy, text_of(metadata, "fsGroupChangePolicy"));
  if (!policy.empty() && policy != "Always" && policy != "OnRootMismatch")
    return fail(Code::kInvalidArgument,
                "metadata.fsGroupChangePolicy: \"{}\" is neither Always nor OnRootMismatch",
                policy);
  if (id.empty()) return std::nullopt;
  FsGroup group;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), group.id);
  if (error != std::errc() || end != id.data() + id.size() || group.id > kMaxGroup)
    return fail(Code::kInvalidArgument, "metadata.fsGroup: \"{}\" is no group id", id);
  group.only_on_root_mismatch = policy == "OnRootMismatch";
  return group;
}

/// A link is followed once, here.
Result<fs::path> find_device(const std::string& device) {
  if (!device.starts_with('/'))
    return fail(Code::kInvalidArgument, "device: \"{}\" is no absolute path", device);
  std::error_code error;
  const fs::path file = fs::canonical(device, error);
  if (error) return fail_errno("device: " + device, error.value());
  if (!fs::is_block_file(file, error) && !fs::is_regular_file(file, error))
    return fail(Code::kInvalidArgument, "device: {} is neither a block device nor an image file",
                device);
  return file;
}

/// A path, and where else on this host what is there can be found: a bind is a part of another
/// mount's file system (kubelet's for subPath).
std::vector<fs::path> origins_of(const fs::path& path, const std::vector<sys::MountInfo>& mounts) {
  std::vector<fs::path> origins = {path};
  // The last of the longest: later ones hide those before.
  const sys::MountInfo* of_path = nullptr;
  for (const sys::MountInfo& mount : mounts)
    if (sys::is_at_or_below(path.native(), mount.mount_point) &&
        (of_path == nullptr || mount.mount_point.size() >= of_path->mount_point.size()))
      of_path = &mount;
  if (of_path == nullptr) return origins;
  const fs::path in_file_system =
      (of_path->root / path.lexically_relative(of_path->mount_point)).lexically_normal();
  for (const sys::MountInfo& mount : mounts)
    if (mount.device == of_path->device && &mount != of_path &&
        sys::is_at_or_below(in_file_system.native(), mount.root))
      origins.push_back(
          (mount.mount_point / in_file_system.lexically_relative(mount.root)).lexically_normal());
  return origins;
}

Result<DirectVolume> parse(std::string_view mount_info) {
  const json parsed = json::parse(mount_info, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return fail(Code::kInvalidArgument, "it is not a JSON object");
  const auto members = members_of(parsed);
  KATA_TRY(const std::string type, text_of(members, "volume-type"));
  if (std::ranges::find(kBlockTypes, type) == kBlockTypes.end())
    return fail(Code::kInvalidArgument, "volume-type: \"{}\" is not supported, only \"block\"",
                type);
  DirectVolume volume;
  KATA_TRY(volume.fs_type, text_of(members, "fstype"));
  if (volume.fs_type.empty()) return fail(Code::kInvalidArgument, "fstype: missing");
  KATA_TRY(volume.options, options_of(members));
  if (const auto metadata = members.find("metadata"); metadata != members.end()) {
    if (!metadata->second.is_object() && !metadata->second.is_null())
      return fail(Code::kInvalidArgument, "metadata: it has to be an object");
    KATA_TRY(volume.fs_group, fs_group_of(members_of(metadata->second)));
  }
  KATA_TRY(const std::string device, text_of(members, "device"));
  KATA_TRY(volume.device, find_device(device));
  return volume;
}

}  // namespace

Result<std::optional<DirectVolume>> find_direct_volume(std::string_view volume_path,
                                                       const fs::path& root) {
  if (!volume_path.starts_with('/')) return std::nullopt;
  KATA_TRY(const fs::path directory, directory_of(volume_path, root));
  const fs::path file = directory / kFileName;
  const std::string stage = fmt::format("direct volume {} ({})", volume_path, file.native());
  struct stat info;
  if (stat(file.c_str(), &info) != 0) {
    // A path that is too long for a file's name has none.
    if (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG) return std::nullopt;
    return fail_errno(stage);
  }
  auto content = sys::read_file(file, kMaxFileBytes);
  if (!content) return std::unexpected(content.error().with_stage(stage));
  auto volume = parse(*content);
  if (!volume) return std::unexpected(volume.error().with_stage(stage));
  return *std::move(volume);
}

Status check_not_in_direct_volume(const fs::path& source, const fs::path& root) {
  std::error_code error;
  // Nobody has said of any.
  if (!fs::exists(root, error)) return {};
  const fs::path real = fs::canonical(source, error);
  if (error) return {};  // whoever binds it says so
  KATA_TRY(const auto mounts, sys::read_mounts());
  for (const fs::path& place : origins_of(real, mounts)) {
    for (fs::path above = place; above.has_relative_path(); above = above.parent_path()) {
      if (!fs::exists(root / base64url(above.native()) / kFileName, error)) continue;
      return fail(Code::kFailedPrecondition,
                  "{} is a directory of the host below {}, whose file system only the guest mounts "
                  "(direct-assigned volume): mount the volume whole, without subPath",
                  source.native(), above.native());
    }
  }
  return {};
}

Status add_direct_volume(std::string_view volume_path, std::string_view mount_info,
                         const fs::path& root) {
  KATA_TRY(const fs::path directory, directory_of(volume_path, root));
  if (mount_info.size() > kMaxFileBytes)
    return fail(Code::kInvalidArgument, "mount info: it is larger than {} bytes", kMaxFileBytes);
  if (auto parsed = parse(mount_info); !parsed)
    return std::unexpected(parsed.error().with_stage("mount info"));
  std::error_code error;
  fs::create_directories(root, error);
  if (!error) fs::permissions(root, fs::perms::owner_all, error);
  if (!error) fs::create_directory(directory, error);
  if (error) return fail_errno("make " + directory.native(), error.value());
  return sys::write_file_atomically(directory / kFileName, mount_info, S_IRUSR | S_IWUSR);
}

Status remove_direct_volume(std::string_view volume_path, const fs::path& root) {
  KATA_TRY(const fs::path directory, directory_of(volume_path, root));
  std::error_code error;
  fs::remove_all(directory, error);
  if (error) return fail_errno("remove " + directory.native(), error.value());
  return {};
}

}  // namespace kata::storage
