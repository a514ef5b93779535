// What host and guest both say of a volume (proto/agent.proto, VolumeMount).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kata::storage {

/// The group that a volume's files are given to, as Kubernetes does for a pod's fsGroup.
struct FsGroup {
  uint32_t id = 0;
  /// Not when the file system's root has it already (fsGroupChangePolicy).
  bool only_on_root_mismatch = false;

  bool operator==(const FsGroup&) const = default;
};

/// A mount of a container's specification that is a file system on a disk of the VM.
struct VolumeMount {
  uint32_t index = 0;  // among the specification's mounts
  /// Of a direct-assigned volume, of which the specification's mount is a bind: the file system.
  /// Empty: the mount says it itself.
  std::string fs_type;
  std::vector<std::string> options;  // as mount(8) takes them
  std::optional<FsGroup> fs_group;

  bool operator==(const VolumeMount&) const = default;
};

}  // namespace kata::storage
