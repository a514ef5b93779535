// Files and directories of the host on the pod's share, for the containers that have them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <sys/types.h>

#include "common/error/error.h"
#include "common/sys/mountinfo.h"
#include "common/sys/pidfd.h"

namespace kata::storage {

struct BindOptions {
  bool recursive = false;
  /// For the container: enforced here as well as in the guest.
  bool read_only = false;
  /// What the host mounts below the source later is seen there, too.
  bool follows_host = false;
};

/// Binds below <share root>/.binds, one for each source however many containers have it: virtiofsd
/// tells files apart by their mounts too, so that the guest would have two caches of a file that is
/// bound twice, and two sets of locks. One thread; calls block, for mount(2).
class SharedBinds {
 public:
  /// `server`: the virtiofsd, in whose mount namespace the share's root is the root; without a pid
  /// (tests) the mounts are looked for here.
  SharedBinds(std::filesystem::path share_root, sys::ProcessIdentity server);

  const std::filesystem::path& share_root() const { return share_root_; }

  /// Answers the place's path relative to the share's root. The place is read-only on the host
  /// until a container has it that may write. `mounts` are this process's, as the container is to
  /// have them.
  Result<std::string> acquire(const std::filesystem::path& source, BindOptions options,
                              const std::vector<sys::MountInfo>& mounts);

  /// Of what was acquired, as often. The last one unmounts.
  Status release(const std::string& place);

 private:
  /// What a source is, whatever its path.
  struct Source {
    std::filesystem::path path;  // without links
    dev_t device = 0;
    ino_t inode = 0;
    uint64_t mount = 0;             // STATX_MNT_ID
    unsigned long mount_flags = 0;  // of statvfs(3): ST_RDONLY, ST_NOEXEC…
    bool is_directory = false;
    std::vector<uint64_t> mounts_below;  // their ids, then
  };
  struct Place {
    Source source;
    BindOptions options;
    size_t users = 0;
  };

  static Result<Source> inspect(int fd, const std::vector<sys::MountInfo>& mounts);
  static bool is_same(const Place& place, const Source& source, const BindOptions& options,
                      const std::vector<sys::MountInfo>& mounts);
  bool is_alive(const std::string& name, const Place& place) const;
  Result<std::string> bind(int source_fd, const Source& source, const BindOptions& options);
  Status make_writable(const std::string& place) const;

  const std::filesystem::path share_root_;
  const sys::ProcessIdentity server_;
  std::map<std::string, Place> places_;  // by their paths relative to the share's root
  uint64_t next_ = 0;
};

}  // namespace kata::storage
