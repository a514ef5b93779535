// Volumes that belong to a group (Kubernetes: securityContext.fsGroup).
#pragma once

#include <filesystem>
#include <mutex>
#include <set>
#include <string>

#include "common/error/error.h"
#include "common/storage/volume_mount.h"

namespace kata::storage {

/// Everything below `root` gets the group, whose members may do what the owners may, and
/// directories the setgid bit, as kubelet does it with volumes of its own. No link is followed, and
/// nobody who renames things meanwhile leads it elsewhere. What cannot be given, and what is deeper
/// than 256 directories, stays as it is, with a line in the log; a file system that takes no writes
/// stays whole. An error is of the root alone. Blocking.
Status give_to_group(const std::filesystem::path& root, FsGroup group);

/// The pod's volumes that have been given: a container that comes later finds them in use. Any
/// thread; it waits for another that gives the same or another volume.
class GivenVolumes {
 public:
  /// give_to_group(), for the first container only. `serial` is of the volume's disk, which has it
  /// for as long as containers use it, and no other disk after it.
  Status give_once(const std::string& serial, const std::filesystem::path& root, FsGroup group);

 private:
  std::mutex mutex_;
  std::set<std::string> given_;  // guarded by mutex_
};

}  // namespace kata::storage
