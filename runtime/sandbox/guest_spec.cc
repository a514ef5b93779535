#include "runtime/sandbox/guest_spec.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>
#include <sys/mount.h>

#include "common/agent_protocol.h"
#include "common/oci/parse.h"
#include "common/sys/file.h"
#include "runtime/sandbox/pod_rules.h"
#include "runtime/storage/hugepages.h"

namespace kata::sandbox {
namespace {

constexpr std::array kHostHooks = {"prestart", "createRuntime", "poststart", "poststop"};
/// Shared by the pod's containers, as the host's would be.
constexpr const char* kGuestShm = "/dev/shm";
constexpr std::array<std::string_view, 3> kGuestOwnTrees = {"/dev", "/proc", "/sys"};

bool is_guests_own(std::string_view source) {
  return std::ranges::any_of(kGuestOwnTrees, [&](std::string_view tree) {
    return source == tree || (source.starts_with(tree) && source[tree.size()] == '/');
  });
}

/// As under runc, whose mounts are slaves of the host's unless they are told otherwise. There is no
/// way back, out of a VM.
bool follows_host(const sys::MountOptions& options) {
  return std::ranges::none_of(options.propagation, [](const auto& propagation) {
    return propagation.type == MS_PRIVATE || propagation.type == MS_UNBINDABLE;
  });
}

/// "ro", or "rro", which CRI says in its place for recursiveReadOnly.
bool is_read_only(const sys::MountOptions& options) {
  return ((options.attr_set | options.recursive_attr_set) & MOUNT_ATTR_RDONLY) != 0;
}

Result<std::string> place_on_share(storage::ContainerStorage& storage,
                                   const std::filesystem::path& source,
                                   storage::BindOptions options) {
  KATA_TRY(const std::string place, storage.bind(source, options));
  return fmt::format("{}/{}", kShareMountPoint, place);
}

/// By path. What the host does not have is the guest's own.
Result<std::map<std::string, std::string>> provide_hook_programs(
    const std::vector<oci::Hook>& hooks, storage::ContainerStorage& storage) {
  std::map<std::string, std::string> programs;
  for (const oci::Hook& hook : hooks) {
    std::error_code error;
    if (programs.contains(hook.path) || !std::filesystem::is_regular_file(hook.path, error))
      continue;
    KATA_TRY(programs[hook.path], place_on_share(storage, hook.path, {.read_only = true}));
  }
  return programs;
}

/// A config.json that is parsed a second time only when something in it has to change.
class GuestSpec {
 public:
  explicit GuestSpec(const BundleSpec& bundle) : bundle_(bundle) {}

  Status place_mounts(const std::set<uint32_t>& on_disks, storage::ContainerStorage& storage) {
    for (uint32_t i = 0; i < bundle_.spec.mounts.size(); ++i) {
      const oci::Mount& mount = bundle_.spec.mounts[i];
      sys::MountOptions options = sys::parse_mount_options(mount.options);
      bool is_bind = options.bind || mount.type == "bind";
      if (!is_bind || on_disks.contains(i)) continue;
      if (is_pods_shm(mount, bundle_.spec)) {
        json()["mounts"][i]["source"] = kGuestShm;
        continue;
      }
      std::filesystem::path source(mount.source);
      // runc takes a relative source as relative to the bundle.
      if (source.is_relative()) source = bundle_.bundle / source;
      KATA_TRY(const bool is_hugepages, place_hugepages(i, source));
      // After it: /dev/hugepages is where hosts have theirs.
      if (is_hugepages || is_guests_own(mount.source)) continue;
      KATA_TRY(const std::string place, place_on_share(storage, source,
                                                       {.recursive = options.bind_recursive,
                                                        .read_only = is_read_only(options),
                                                        .follows_host = follows_host(options)}));
      json()["mounts"][i]["source"] = place;
    }
    return {};
  }

  Status map_namespaces(const PodInit& init) {
    const std::string of_init = fmt::format("/proc/{}/ns/", init.host_pid);
    const auto& namespaces = bundle_.spec.linux.namespaces;
    for (size_t i = 0; i < namespaces.size(); ++i) {
      const oci::Namespace& wanted = namespaces[i];
      if (!wanted.path.starts_with(of_init)) continue;
      if (init.guest_pid == 0)
        return fail(Code::kFailedPrecondition,
                    "linux.namespaces[{}].path: {} is the pod's first container's, which is not "
                    "there any more",
                    i, wanted.path);
      json()["linux"]["namespaces"][i]["path"] =
          fmt::format("/proc/{}/ns/{}", init.guest_pid, wanted.path.substr(of_init.size()));
    }
    return {};
  }

  void leave_out_host_hooks() {
    const oci::Hooks& hooks = bundle_.spec.hooks;
    if (hooks.prestart.empty() && hooks.create_runtime.empty() && hooks.poststart.empty() &&
        hooks.poststop.empty())
      return;
    for (const char* kind : kHostHooks) json()["hooks"].erase(kind);
  }

  std::vector<storage::HugepageVolume> take_hugepage_volumes() {
    return std::move(hugepage_volumes_);
  }

  std::string text() const { return json_.is_null() ? bundle_.json : json_.dump(); }

 private:
  Result<bool> place_hugepages(uint32_t index, const std::filesystem::path& source) {
    auto volume = storage::find_hugepage_volume(source);
    if (!volume)
      return std::unexpected(volume.error().with_stage(fmt::format("mounts[{}].source", index)));
    if (!*volume) return false;
    json()["mounts"][index]["source"] = fmt::format("{}/{}", kHugepageVolumes, (*volume)->name);
    hugepage_volumes_.push_back(std::move(**volume));
    return true;
  }

  nlohmann::json& json() {
    if (json_.is_null()) json_ = nlohmann::json::parse(bundle_.json);
    return json_;
  }

  const BundleSpec& bundle_;
  std::vector<storage::HugepageVolume> hugepage_volumes_;
  nlohmann::json json_;
};

}  // namespace

Result<BundleSpec> read_bundle(const std::filesystem::path& bundle) {
  BundleSpec read;
  read.bundle = bundle;
  KATA_TRY(read.json, sys::read_file(bundle / "config.json", oci::kMaxSpecBytes));
  KATA_TRY(read.spec, oci::parse_spec(read.json));
  return read;
}

Result<agent_client::ContainerSpec> make_guest_spec(const BundleSpec& bundle, const PodInit& init,
                                                    const std::set<uint32_t>& on_disks,
                                                    storage::ContainerStorage& storage) {
  GuestSpec guest(bundle);
  KATA_CHECK(guest.place_mounts(on_disks, storage));
  KATA_CHECK(guest.map_namespaces(init));
  guest.leave_out_host_hooks();
  agent_client::ContainerSpec spec;
  KATA_TRY(spec.hook_programs, provide_hook_programs(bundle.spec.hooks.create_container, storage));
  spec.oci_json = guest.text();
  spec.hugepage_volumes = guest.take_hugepage_volumes();
  spec.bundle = bundle.bundle;
  return spec;
}

}  // namespace kata::sandbox
