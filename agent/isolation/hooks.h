// Hooks that run in the container's namespaces: createContainer, before its root becomes "/", and
// startContainer, right before its program. For a container's init process (container.h).
//
// A hook gets what config.json says and nothing else: its environment, no descriptor, the
// container's state on its stdin; the end of what it writes is kept for the error. It leads a
// session, which is killed when it runs past its timeout.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// Of a container, beside its specification.
struct ContainerInfo {
  std::string id;
  std::string bundle;  // on the host; what hooks are told
  /// Files of the guest in place of programs of createContainer hooks, by the hooks' paths.
  std::map<std::string, std::string> hook_programs;
};

/// Before pivot_into. Paths are the guest's; hooks start in `rootfs`.
Status run_create_hooks(const oci::Spec& spec, const ContainerInfo& info, int rootfs);

/// After become_process: hooks run as the container's process does, in its root, under its seccomp
/// `filter`, too.
Status run_start_hooks(const oci::Spec& spec, const ContainerInfo& info, std::string_view filter);

}  // namespace kata::isolation
