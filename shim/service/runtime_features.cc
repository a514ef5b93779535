#include "shim/service/runtime_features.h"

#include <array>
#include <utility>
#include <vector>

#include <google/protobuf/any.pb.h>
#include <nlohmann/json.hpp>

#include "common/oci/hooks.h"
#include "common/oci/parse.h"
#include "containerd/introspection.pb.h"
#include "shim/service/shim_messages.h"

namespace kata::service {
namespace {

using nlohmann::json;

constexpr const char* kOldestSpec = "1.0.0";

/// Those of common/sys/mount.h without an argument.
constexpr auto kMountOptions = std::to_array<const char*>(
    {"async",       "atime",       "bind",           "defaults", "dev",
     "diratime",    "dirsync",     "exec",           "idmap",    "iversion",
     "lazytime",    "ridmap",      "tmpcopyup",      "loud",     "mand",
     "noatime",     "nodev",       "nodiratime",     "noexec",   "noiversion",
     "nolazytime",  "norelatime",  "nostrictatime",  "nosuid",   "nosymfollow",
     "private",     "ratime",      "rbind",          "rdev",     "rdiratime",
     "relatime",    "rexec",       "rnoatime",       "rnodev",   "rnodiratime",
     "rnoexec",     "rnorelatime", "rnostrictatime", "rnosuid",  "rnosymfollow",
     "ro",          "rprivate",    "rrelatime",      "rro",      "rrw",
     "rshared",     "rslave",      "rstrictatime",   "rsuid",    "rsymfollow",
     "runbindable", "rw",          "shared",         "silent",   "slave",
     "strictatime", "suid",        "symfollow",      "sync",     "unbindable"});

template <typename Change>
bool enforces(Change change) {
  oci::Spec spec;
  change(spec);
  return oci::not_enforced(spec).empty();
}

json hooks() {
  static constexpr auto kHooks =
      std::to_array<std::pair<const char*, std::vector<oci::Hook> oci::Hooks::*>>(
          {{"prestart", &oci::Hooks::prestart},
           {"createRuntime", &oci::Hooks::create_runtime},
           {"createContainer", &oci::Hooks::create_container},
           {"startContainer", &oci::Hooks::start_container},
           {"poststart", &oci::Hooks::poststart},
           {"poststop", &oci::Hooks::poststop}});
  json names = json::array();
  for (const auto& [name, member] : kHooks)
    if (enforces([&](oci::Spec& spec) { (spec.hooks.*member).emplace_back(); }))
      names.push_back(name);
  return names;
}

json namespaces() {
  json names{"cgroup", "ipc", "mount", "network", "pid", "time", "uts"};
  bool user = enforces([](oci::Spec& spec) { spec.linux.uid_mappings.emplace_back(); });
  if (user) names.push_back("user");
  return names;
}

json enabled(bool value) { return {{"enabled", value}}; }

json linux_features() {
  bool seccomp = enforces([](oci::Spec& spec) { spec.linux.seccomp.emplace(); });
  return {
      {"namespaces", namespaces()},
      // The guest's own hierarchy, whatever the host has.
      {"cgroup",
       {{"v1", false}, {"v2", true}, {"systemd", false}, {"systemdUser", false}, {"rdma", false}}},
      {"seccomp", enabled(seccomp)},
      // Of the guest, for which the configuration and the image have to have them.
      {"apparmor", enabled(false)},
      {"selinux", enabled(false)},
      {"intelRdt", enabled(false)},
      // containerd would have it of every mount, and Linux 6.1 does not map the ids of virtiofs.
      {"mountExtensions", {{"idmap", enabled(false)}}},
      {"netDevices", enabled(false)}};
}

/// A RuntimeRequest with options can be read as an Any whose type is the runtime's path.
Result<google::protobuf::Any> options_in(std::string_view input) {
  int size = static_cast<int>(input.size());
  containerd::types::RuntimeRequest request;
  if (request.ParseFromArray(input.data(), size) && are_our_options(request.options().type_url()))
    return request.options();
  google::protobuf::Any options;
  if (!options.ParseFromArray(input.data(), size))
    return fail(Code::kInvalidArgument, "the runtime options on stdin cannot be decoded");
  return options;
}

}  // namespace

std::string runtime_features() {
  return json{{"ociVersionMin", kOldestSpec},
              {"ociVersionMax", oci::kNewestVersion},
              {"hooks", hooks()},
              {"mountOptions", kMountOptions},
              {"linux", linux_features()}}
      .dump();
}

Result<std::string> encode_runtime_info(std::string_view name, std::string_view version,
                                        std::string_view input) {
  KATA_TRY(google::protobuf::Any options, options_in(input));
  containerd::types::RuntimeInfo info;
  info.set_name(std::string(name));
  info.mutable_version()->set_version(std::string(version));
  if (are_our_options(options.type_url())) {
    KATA_CHECK(decode_runtime_options(options.SerializeAsString()));
    *info.mutable_options() = options;
  }
  info.mutable_features()->set_type_url(kFeaturesType);
  info.mutable_features()->set_value(runtime_features());
  return info.SerializeAsString();
}

}  // namespace kata::service
