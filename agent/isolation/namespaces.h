// Linux namespaces of a container, as linux.namespaces of its spec asks for.
#pragma once

#include <string>
#include <vector>

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

struct NamespacePlan {
  struct Join {
    int flag = 0;  // CLONE_NEW*
    std::string path;
  };
  std::vector<Join> join;    // in the order in which setns(2) must be called
  int create = 0;            // CLONE_NEW* flags
  std::string time_offsets;  // of a time namespace that is created, as /proc takes them
};

/// A network entry is left out: all containers of a pod use the guest's own network; so is that of
/// the user namespace, which comes before all others (user_namespace.h). A cgroup namespace is
/// always made unless the spec names one to join. InvalidArgument: offsets for a time namespace
/// that is not made.
Result<NamespacePlan> plan_namespaces(const oci::Spec& spec);

/// PermissionDenied when the two descriptors mean one namespace: `own` is the agent's, in which a
/// container could reach whatever runs in the guest.
Status refuse_agents_namespace(int own, int wanted, const std::string& path);

/// setns(2) into the ones with a path, unshare(2) of the others, all at once. The caller is
/// single-threaded, root, and already in the container's cgroup: that becomes the root of a new
/// cgroup namespace (clone3 with CLONE_NEWCGROUP would take the parent's, so leave that flag to
/// this call). A pid namespace holds only children made afterwards: fork once more, or give
/// CLONE_NEWPID to clone3, remove it from the plan and call this in the child.
Status enter_namespaces(const NamespacePlan& plan);

/// CLONE_NEWUSER and CLONE_NEWTIME, as far as the spec's container lives in others than the agent.
int rarer_namespaces(const oci::Spec& spec);

/// For a further process of a running container: joins the cgroup, ipc, uts and mount namespaces of
/// its init, and those of `rarer`, all at once; "/" and the working directory are the container's
/// then, and the caller is root of its user namespace. The pid namespace is that of the caller's
/// birth.
Status join_namespaces_of(int init_pidfd, int rarer);

}  // namespace kata::isolation
