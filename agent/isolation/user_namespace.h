// User namespaces: a container's own, and those whose mappings idmapped mounts take.
//
// A container's is made, or joined, with its first process (agent/container/spawn.h), because
// everything else of the container has to belong to it. Ids of files stay what they are on disk:
// those that the mappings do not hold are the overflow id's in the container.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

using IdMappings = std::vector<oci::IdMapping>;

struct UserNamespace {
  std::string path;  // of one to join; empty: a new one
  IdMappings uids;   // of a new one
  IdMappings gids;
};

/// What the spec asks for, if it does. InvalidArgument, with runc's words: a new one without
/// mappings, one in which there is no root, mappings that the kernel would not take.
Result<std::optional<UserNamespace>> plan_user_namespace(const oci::Spec& spec);

bool has_user_namespace(const oci::Spec& spec);

/// As runc: a container with a cgroup namespace of its own and a writable /sys/fs/cgroup is to make
/// groups below its own, as root of its user namespace.
bool delegates_cgroup(const oci::Spec& spec);

/// Of the new namespace in which the process lives; once. From outside, as its owner or root.
Status write_id_mappings(pid_t pid, const UserNamespace& wanted);

/// Of the namespace in which the process lives, as ids of the caller's.
Result<IdMappings> read_uid_mappings(pid_t pid);

/// Of a container's id; nothing where it is not mapped.
std::optional<uid_t> host_id(const IdMappings& mappings, uid_t container_id);

/// A namespace that nobody lives in. Blocks until the process that it was made with has ended.
Result<UniqueFd> make_user_namespace(const IdMappings& uids, const IdMappings& gids);

}  // namespace kata::isolation
