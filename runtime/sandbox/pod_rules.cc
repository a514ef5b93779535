#include "runtime/sandbox/pod_rules.h"

#include <algorithm>
#include <array>
#include <filesystem>

namespace kata::sandbox {
namespace {

using oci::NamespaceType;

/// containerd's and CRI-O's.
constexpr std::array kContainerTypes = {"io.kubernetes.cri.container-type",
                                        "io.kubernetes.cri-o.ContainerType"};

constexpr std::array kSandboxIds = {"io.kubernetes.cri.sandbox-id",
                                    "io.kubernetes.cri-o.SandboxID"};

/// A namespace that a pod has unless its field says that it wants the node's.
struct Rule {
  NamespaceType type;
  const char* field;
  const char* what;
};
constexpr std::array kRules = {
    Rule{NamespaceType::kNetwork, "hostNetwork", "network"},
    Rule{NamespaceType::kPid, "hostPID", "processes"},
    Rule{NamespaceType::kIpc, "hostIPC", "IPC"},
};

bool is_pod(const oci::Spec& spec) {
  return std::ranges::any_of(kContainerTypes, [&](const char* name) {
    const auto found = spec.annotations.find(name);
    return found != spec.annotations.end() && found->second == "sandbox";
  });
}

}  // namespace

bool is_of_cri(const oci::Spec& spec) {
  return std::ranges::any_of(kContainerTypes,
                             [&](const char* name) { return spec.annotations.contains(name); });
}

bool is_pods_shm(const oci::Mount& mount, const oci::Spec& spec) {
  if (mount.destination != "/dev/shm") return false;
  const std::filesystem::path source(mount.source);
  return source.filename() == "shm" && std::ranges::any_of(kSandboxIds, [&](const char* name) {
           const auto id = spec.annotations.find(name);
           return id != spec.annotations.end() && !id->second.empty() &&
                  std::find(source.begin(), source.end(), id->second) != source.end();
         });
}

Status check_pod(const oci::Spec& spec) {
  if (!is_pod(spec)) return {};
  for (const Rule& rule : kRules)
    if (std::ranges::find(spec.linux.namespaces, rule.type, &oci::Namespace::type) ==
        spec.linux.namespaces.end())
      return fail(
          Code::kFailedPrecondition,
          "the pod wants the node's {}, which a VM does not have: remove {} from the pod, or "
          "give it a RuntimeClass without VM",
          rule.what, rule.field);
  return {};
}

}  // namespace kata::sandbox
