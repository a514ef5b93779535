#include "agent/isolation/prepared_mounts.h"

#include <optional>

#include <fcntl.h>

#include "agent/isolation/call_error.h"
#include "agent/isolation/mounts.h"
#include "agent/isolation/rootfs.h"
#include "agent/isolation/user_namespace.h"
#include "common/sys/mount.h"

namespace kata::isolation {

namespace {

bool has_own_mappings(const oci::Mount& mount) {
  return !mount.uid_mappings.empty() || !mount.gid_mappings.empty();
}

bool is_id_mapped(const oci::Mount& mount) {
  return has_own_mappings(mount) || sys::parse_mount_options(mount.options).id_mapped;
}

/// The mappings of an idmapped mount: its own, else the container's.
Result<UniqueFd> mappings_of(const oci::Mount& mount, const oci::Spec& spec) {
  if (!has_own_mappings(mount)) {
    KATA_TRY(auto containers, plan_user_namespace(spec));
    if (!containers || !containers->path.empty())
      return fail(
          Code::kInvalidArgument,
          "an idmapped mount needs uidMappings and gidMappings, or those of a user namespace "
          "that is made for the container");
    return make_user_namespace(containers->uids, containers->gids);
  }
  if (mount.uid_mappings.empty() || mount.gid_mappings.empty())
    return fail(Code::kInvalidArgument,
                "id-mapped mounts must have both UID and GID mappings specified");
  return make_user_namespace(mount.uid_mappings, mount.gid_mappings);
}

Status map_ids_of(const oci::Mount& mount, const oci::Spec& spec, int detached) {
  KATA_TRY(auto mappings, mappings_of(mount, spec));
  return sys::map_ids(detached, mappings.get(),
                      sys::parse_mount_options(mount.options).id_mapped_tree,
                      is_bind(mount) ? "" : mount.type);
}

Result<UniqueFd> prepare(const oci::Mount& mount, const oci::Spec& spec) {
  if (sys::parse_mount_options(mount.options).copy_up)
    return fail(Code::kUnimplemented,
                "option \"tmpcopyup\" is for a tmpfs whose ids are not mapped");
  KATA_TRY(auto detached,
           sys::make_mount(entry_of(mount, spec.linux.mount_label), inherited_propagation(spec)));
  if (is_id_mapped(mount)) KATA_CHECK(map_ids_of(mount, spec, detached.get()));
  return detached;
}

}  // namespace

Result<PreparedMounts> prepare_mounts(const oci::Spec& spec, const std::string& rootfs) {
  PreparedMounts prepared;
  const bool own_ids = has_user_namespace(spec);
  if (own_ids) {
    KATA_TRY(prepared[kRootMount], clone_rootfs(spec, rootfs));
  }
  for (uint32_t i = 0; i < spec.mounts.size(); ++i) {
    const auto& mount = spec.mounts[i];
    const bool out_of_reach = own_ids && (is_bind(mount) || mount.type == "sysfs");
    if (!out_of_reach && !is_id_mapped(mount)) continue;
    auto detached = prepare(mount, spec);
    if (!detached) return std::unexpected(in_mount_stage(detached.error(), mount));
    prepared[i] = *std::move(detached);
  }
  return prepared;
}

}  // namespace kata::isolation
