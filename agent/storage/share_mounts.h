// Host mounts below a share that several containers of the pod have.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace kata::storage {

/// Each mount of the host below a share is a file system of its own in the guest (a virtiofs
/// submount), which the kernel mounts for the mount namespace that walks into it. Two such mounts
/// have two caches and two sets of locks: so the agent walks first, and containers inherit the same
/// one. It goes with the last container. Any thread.
class ShareMounts {
 public:
  /// `paths` of the guest: of those below <share>/<kShareBinds> the places, each once, for
  /// release().
  std::vector<std::string> acquire(const std::vector<std::string>& shares,
                                   const std::vector<std::string>& paths);

  /// Empties `places`, also where several threads call it for the same ones. Call it when the
  /// container's own mounts have gone, see HeldMounts.
  void release(std::vector<std::string>& places);

 private:
  std::mutex mutex_;
  std::map<std::string, size_t> users_;  // guarded by mutex_
};

}  // namespace kata::storage
