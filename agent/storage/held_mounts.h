// Keeps a container's mounts for a while beyond its last process.
//
// Each mount of the host below a share is a file system of its own in the guest (a virtiofs
// submount), and ends with the last mount namespace that has it. Linux 6.1 does not survive that
// while a file of it is being closed: a read-ahead that is under way when a process exits closes
// its file later, by itself, and holds the inode until the host has answered. "VFS: Busy inodes
// after unmount", then BUG(): the whole pod is gone. So the namespace is held, and let go when
// nothing is under way any more.
//
// A path that the agent itself looks up below a share, for a container in a user namespace, makes
// such a mount in the agent's own namespace, too: it goes with the container.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::storage {

/// Any thread.
class HeldMounts {
 public:
  /// Of a process of the container that lives. `shares`: where the sandbox's shares are mounted.
  static Result<std::unique_ptr<HeldMounts>> of(pid_t process, std::string container_id,
                                                std::vector<std::string> shares);
  /// Of one that has no process yet: what the agent itself has mounted for it.
  static std::unique_ptr<HeldMounts> of_agent(std::string container_id,
                                              std::vector<std::string> shares);
  HeldMounts(const HeldMounts&) = delete;
  HeldMounts& operator=(const HeldMounts&) = delete;

  /// When no process is left in the namespace: waits until the shares' host has answered all that
  /// those have left behind, and lets the mounts go. Harmless when repeated. The destructor lets go
  /// without waiting.
  void release();

 private:
  HeldMounts(UniqueFd mounts, std::string container_id, std::vector<std::string> shares)
      : namespace_(std::move(mounts)),
        container_id_(std::move(container_id)),
        shares_(std::move(shares)) {}

  std::mutex mutex_;
  UniqueFd namespace_;     // guarded by mutex_
  bool released_ = false;  // guarded by mutex_
  const std::string container_id_;
  const std::vector<std::string> shares_;
};

}  // namespace kata::storage
