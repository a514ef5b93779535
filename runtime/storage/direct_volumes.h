// Direct-assigned volumes: a CSI driver leaves a volume's file system unmounted on the host, and
// says where it is in a file beside the runtime. The guest mounts it. The file and its place are
// those of Kata Containers (its docs/design/direct-blk-device-assignment.md).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/error/error.h"
#include "common/storage/volume_mount.h"

namespace kata::storage {

/// Root's alone: who can write here can give himself the host's disks.
inline constexpr const char* kDirectVolumes = "/run/kata-containers/shared/direct-volumes";

struct DirectVolume {
  std::filesystem::path device;  // a block device or an image file, without links
  std::string fs_type;
  std::vector<std::string> options;
  std::optional<FsGroup> fs_group;
};

// All block; any thread. `root` is kDirectVolumes, or a test's. `volume_path` is CSI's target_path,
// which is the source of the container's mount.

/// nullopt: nobody has said that it is one. InvalidArgument names what of the file is not
/// understood; NotFound: there is no such device.
Result<std::optional<DirectVolume>> find_direct_volume(
    std::string_view volume_path, const std::filesystem::path& root = kDirectVolumes);

/// FailedPrecondition: `source` is below a direct volume, or a bind of what is (subPath): there is
/// an empty directory of the host only.
Status check_not_in_direct_volume(const std::filesystem::path& source,
                                  const std::filesystem::path& root = kDirectVolumes);

/// `mount_info` is the content of the file; checked as find_direct_volume() does, the device as
/// well. Replaces what was said before.
Status add_direct_volume(std::string_view volume_path, std::string_view mount_info,
                         const std::filesystem::path& root = kDirectVolumes);

/// Harmless when repeated.
Status remove_direct_volume(std::string_view volume_path,
                            const std::filesystem::path& root = kDirectVolumes);

}  // namespace kata::storage
