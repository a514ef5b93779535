// The host's control groups of one pod: what it costs the node is counted, and limited, where
// whoever has made the pod expects it.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/error/error.h"

namespace kata::sandbox {

/// Where a cgroupsPath of the OCI runtime specification (config-linux.md, "Cgroups Path") is below
/// the root of a hierarchy. systemd's form, "slice:prefix:name", is the scope <prefix>-<name>.scope
/// below the slice and the slices that its name contains (systemd.slice(5)). InvalidArgument: it
/// leads out of the hierarchy, or names its root.
Result<std::filesystem::path> group_of(std::string_view cgroups_path);

/// How long the processes of a sandbox that was ended may take to be gone.
inline constexpr std::chrono::seconds kGroupLimit{2};

/// Waits until nobody is in these groups any more, and removes them; those that are not there are
/// fine. FailedPrecondition names who is left.
Status remove_groups(const std::vector<std::filesystem::path>& directories,
                     std::chrono::milliseconds limit = kGroupLimit);

/// One group in each hierarchy of cgroup v1, and of v2, that this process sees. Blocking; any
/// thread, one at a time. The groups have no limits of their own: those of the pod are its
/// parent's.
class HostCgroup {
 public:
  /// Does nothing yet, so that directories() can be noted first.
  static Result<HostCgroup> plan(std::string_view cgroups_path);

  std::vector<std::filesystem::path> directories() const;

  /// Makes the groups that are not there, and moves this process into them; what it starts from now
  /// on is there, too. After an error it is where it was.
  Status enter();
  /// Moves this process back, or to the nearest group above that takes it, and removes the groups
  /// that enter() has made, as remove_groups() does. Harmless when repeated.
  Status leave(std::chrono::milliseconds limit = kGroupLimit);

 private:
  /// In one hierarchy.
  struct Group {
    std::filesystem::path root;
    std::filesystem::path before;  // where this process was
    std::filesystem::path directory;
    bool made = false;
  };
  std::vector<Group> groups_;
  bool entered_ = false;
};

}  // namespace kata::sandbox
