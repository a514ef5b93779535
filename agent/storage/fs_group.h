// Volumes that belong to a group (Kubernetes: securityContext.fsGroup).
#pragma once

#include <filesystem>

#include "common/error/error.h"
#include "common/storage/volume_mount.h"

namespace kata::storage {

/// Everything below `root` gets the group, whose members may do what the owners may, and
/// directories the setgid bit, as kubelet does it with volumes of its own. No link is followed, and
/// nobody who renames things meanwhile leads it elsewhere. A file system that takes no writes stays
/// as it is. ResourceExhausted: deeper than 256 directories. Blocking.
Status give_to_group(const std::filesystem::path& root, FsGroup group);

}  // namespace kata::storage
