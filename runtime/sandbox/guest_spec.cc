#include "runtime/sandbox/guest_spec.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "common/agent_protocol.h"
#include "common/oci/parse.h"
#include "common/sys/file.h"

namespace kata::sandbox {
namespace {

constexpr std::array<std::string_view, 3> kGuestOwnTrees = {"/dev", "/proc", "/sys"};

bool is_guests_own(std::string_view source) {
  return std::ranges::any_of(kGuestOwnTrees, [&](std::string_view tree) {
    return source == tree || (source.starts_with(tree) && source[tree.size()] == '/');
  });
}

}  // namespace

Result<BundleSpec> read_bundle(const std::filesystem::path& bundle) {
  BundleSpec read;
  read.bundle = bundle;
  KATA_TRY(read.json, sys::read_file(bundle / "config.json", oci::kMaxSpecBytes));
  KATA_TRY(read.spec, oci::parse_spec(read.json));
  return read;
}

Result<std::string> make_guest_spec(const BundleSpec& bundle, storage::ContainerStorage& storage) {
  nlohmann::json json;  // parsed a second time only when something has to change
  for (size_t i = 0; i < bundle.spec.mounts.size(); ++i) {
    const oci::Mount& mount = bundle.spec.mounts[i];
    sys::MountOptions options = sys::parse_mount_options(mount.options);
    bool is_bind = options.bind || mount.type == "bind";
    if (!is_bind || is_guests_own(mount.source)) continue;
    std::filesystem::path source(mount.source);
    // runc takes a relative source as relative to the bundle.
    if (source.is_relative()) source = bundle.bundle / source;
    bool read_only = std::ranges::find(mount.options, "ro") != mount.options.end();
    KATA_TRY(const std::string place, storage.bind(source, options.bind_recursive, read_only));
    if (json.is_null()) json = nlohmann::json::parse(bundle.json);
    json["mounts"][i]["source"] = fmt::format("{}/{}", kShareMountPoint, place);
  }
  return json.is_null() ? bundle.json : json.dump();
}

}  // namespace kata::sandbox
