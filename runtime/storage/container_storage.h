// One container's files on the pod's share.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/error/error.h"
#include "common/sys/mount.h"
#include "runtime/storage/shared_binds.h"

namespace kata::storage {

/// Mounts its root below <share root>/<container id>, where the guest sees it, and binds what of
/// the host the pod's containers share. Blocking, one thread. The destructor removes what remove()
/// has not.
class ContainerStorage {
 public:
  virtual ~ContainerStorage() = default;

  /// Mounts the container's root as the snapshotter wants it (their targets are ignored; no mounts:
  /// `bundle_rootfs` is bound).
  /// Answers its path relative to the share's root.
  virtual Result<std::string> mount_rootfs(std::vector<sys::MountEntry> mounts,
                                           const std::filesystem::path& bundle_rootfs) = 0;

  /// Binds a host file or directory; answers its path relative to the share's root.
  virtual Result<std::string> bind(const std::filesystem::path& source, BindOptions options) = 0;

  /// Unmounts everything. Safe to repeat.
  virtual Status remove() = 0;
};

Result<std::unique_ptr<ContainerStorage>> open_container_storage(std::shared_ptr<SharedBinds> binds,
                                                                 const std::string& container_id);

}  // namespace kata::storage
