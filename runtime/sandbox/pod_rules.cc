#include "runtime/sandbox/pod_rules.h"

#include <algorithm>
#include <array>

namespace kata::sandbox {
namespace {

using oci::NamespaceType;

/// containerd's and CRI-O's.
constexpr std::array kContainerTypes = {"io.kubernetes.cri.container-type",
                                        "io.kubernetes.cri-o.ContainerType"};

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
