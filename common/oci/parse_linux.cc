#include <algorithm>
#include <array>
#include <utility>

#include "common/oci/readers.h"

namespace kata::oci {

namespace {

constexpr auto kNamespaces = std::to_array<std::pair<std::string_view, NamespaceType>>({
    {"pid", NamespaceType::kPid},
    {"network", NamespaceType::kNetwork},
    {"mount", NamespaceType::kMount},
    {"ipc", NamespaceType::kIpc},
    {"uts", NamespaceType::kUts},
    {"user", NamespaceType::kUser},
    {"cgroup", NamespaceType::kCgroup},
    {"time", NamespaceType::kTime},
});

constexpr auto kDeviceTypes = std::to_array<std::pair<std::string_view, DeviceType>>({
    {"c", DeviceType::kChar},
    {"u", DeviceType::kChar},  // unbuffered
    {"b", DeviceType::kBlock},
    {"p", DeviceType::kFifo},
});

// What fits into the kernel's dev_t; makedev() would silently wrap.
constexpr uint32_t kMaxMajor = (1U << 12) - 1;
constexpr uint32_t kMaxMinor = (1U << 20) - 1;

constexpr std::array<std::string_view, 9> kPropagations = {
    "", "shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"};
constexpr std::array<std::string_view, 2> kPersonalities = {"LINUX", "LINUX32"};
constexpr std::array<std::string_view, 2> kClocks = {"monotonic", "boottime"};

template <typename Table, typename T>
void read_named(JsonReader& in, const char* key, const Table& table, T& out) {
  std::string name;
  in.required(key, name);
  if (in.failed()) return;
  for (const auto& [known, value] : table)
    if (known == name) {
      out = value;
      return;
    }
  in.fail_at(key, "unknown value {}", quote(name));
}

}  // namespace

void read(JsonReader& in, IdMapping& out) {
  in.required("containerID", out.container_id);
  in.required("hostID", out.host_id);
  in.required("size", out.size);
}

static void read(JsonReader& in, Namespace& out) {
  read_named(in, "type", kNamespaces, out.type);
  in.optional("path", out.path);
  if (!in.failed() && !out.path.empty() && !out.path.starts_with('/'))
    in.fail_at("path", "{} is not absolute", quote(out.path));
}

static void read(JsonReader& in, Device& out) {
  read_named(in, "type", kDeviceTypes, out.type);
  in.required("path", out.path);
  in.optional("major", out.major);
  in.optional("minor", out.minor);
  in.optional("fileMode", out.file_mode);
  in.optional("uid", out.uid);
  in.optional("gid", out.gid);
  if (in.failed()) return;
  if (out.path.empty()) return in.fail_at("path", "must not be empty");
  if (out.type != DeviceType::kFifo && (!in.has("major") || !in.has("minor")))
    return in.fail("major and minor are needed for {}", quote(out.path));
  if (out.major > kMaxMajor)
    return in.fail_at("major", "{} is above the kernel's limit of {}", out.major, kMaxMajor);
  if (out.minor > kMaxMinor)
    return in.fail_at("minor", "{} is above the kernel's limit of {}", out.minor, kMaxMinor);
}

static void read(JsonReader& in, TimeOffset& out) {
  in.optional("secs", out.secs);
  in.optional("nanosecs", out.nanosecs);
}

static void read(JsonReader& in, Personality& out) {
  in.required_enum("domain", out.domain, kPersonalities);
  in.optional("flags", out.flags);
  // The specification has none yet.
  if (!out.flags.empty()) in.fail_at("flags", "unknown value {}", quote(out.flags.front()));
}

static void check_unique_namespaces(JsonReader& in, const std::vector<Namespace>& namespaces) {
  for (auto entry = namespaces.begin(); entry != namespaces.end(); ++entry) {
    auto same_type = [&](const Namespace& earlier) { return earlier.type == entry->type; };
    if (std::find_if(namespaces.begin(), entry, same_type) != entry)
      in.fail_at("namespaces", "{} is there twice",
                 kNamespaces[static_cast<size_t>(entry->type)].first);
  }
}

/// What belongs to a namespace that the container does not have; runc's words.
static void check_namespaces_of(JsonReader& in, const Linux& linux) {
  auto has = [&](NamespaceType type) {
    return std::ranges::find(linux.namespaces, type, &Namespace::type) != linux.namespaces.end();
  };
  constexpr const char* kNoUser =
      "user namespace mappings specified, but user namespace isn't enabled in the config";
  if (!has(NamespaceType::kUser) && !linux.uid_mappings.empty())
    in.fail_at("uidMappings", "{}", kNoUser);
  if (!has(NamespaceType::kUser) && !linux.gid_mappings.empty())
    in.fail_at("gidMappings", "{}", kNoUser);
  if (!has(NamespaceType::kTime) && !linux.time_offsets.empty())
    in.fail_at("timeOffsets",
               "time namespace offsets specified, but time namespace isn't enabled in the config");
}

void read(JsonReader& in, Linux& out) {
  in.optional("namespaces", out.namespaces);
  in.optional("uidMappings", out.uid_mappings);
  in.optional("gidMappings", out.gid_mappings);
  in.optional("timeOffsets", out.time_offsets);
  in.optional("devices", out.devices);
  in.optional("cgroupsPath", out.cgroups_path);
  in.optional("resources", out.resources);
  in.optional_enum("rootfsPropagation", out.rootfs_propagation, kPropagations);
  in.optional("maskedPaths", out.masked_paths);
  in.optional("readonlyPaths", out.readonly_paths);
  in.optional("sysctl", out.sysctl);
  in.optional("seccomp", out.seccomp);
  in.optional("mountLabel", out.mount_label);
  in.optional("personality", out.personality);
  if (in.has("intelRdt"))
    in.fail_at("intelRdt", "a VM has no resctrl file system: Intel RDT is not supported");
  check_unique_namespaces(in, out.namespaces);
  for (const auto& [clock, offset] : out.time_offsets)
    if (std::ranges::find(kClocks, clock) == kClocks.end())
      in.fail_at("timeOffsets", "unknown clock {}", quote(clock));
  check_namespaces_of(in, out);
}

}  // namespace kata::oci
