// What a specification says in the host's terms and the guest is not to have: labels of security
// modules whose policies are loaded on the host, numbers of the host's processors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/oci/spec.h"
#include "runtime/config/config.h"

namespace kata::sandbox {

class GuestFilter {
 public:
  GuestFilter() = default;
  /// By disable_guest_apparmor and disable_guest_selinux of the configuration. The processors and
  /// memory nodes of a CRI's container (it has the annotation of its type) are those that the
  /// kubelet has assigned to the pod on the host.
  GuestFilter(const config::Hypervisor& settings, const oci::Spec& spec);

  /// The JSON without what is not for the guest: of config.json, of a process, of linux.resources.
  /// What is no JSON stays as it is: the guest refuses it.
  std::string of_spec(std::string json) const;
  std::string of_process(std::string json) const;
  std::string of_resources(std::string json) const;

  /// Of what the spec has, the JSON paths that of_spec takes away.
  const std::vector<std::string>& taken_away() const { return taken_away_; }

 private:
  bool apparmor_ = false;
  bool selinux_ = false;
  bool processors_ = false;
  std::vector<std::string> taken_away_;
};

}  // namespace kata::sandbox
