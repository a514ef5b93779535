// Starting a container's init: clone3(2) and execveat(2) of our own binary.
#pragma once

#include <array>
#include <optional>
#include <string>

#include <sys/types.h>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::container {

/// argv[0] by which main() knows that it is a container's init.
inline constexpr const char* kInitName = "kata-init";
/// Descriptor of the sync socket in the init; 0, 1 and 2 are the container's streams.
inline constexpr int kSyncDescriptor = 3;

struct SpawnRequest {
  int executable = -1;             // of kata-agent, O_PATH will do; borrowed
  std::array<int, 3> stdio = {};   // borrowed
  int sync = -1;                   // the init's end; borrowed
  int cgroup = -1;                 // directory in which the process is born; borrowed
  bool new_pid_namespace = false;  // the process becomes its pid 1
  std::string join_pid_namespace;  // path of a namespace file, or empty
};

struct Spawned {
  pid_t pid = -1;
  UniqueFd pidfd;
};

/// Returns when the child has called execveat. The child is a direct child of this process, born in
/// its cgroup, with an empty signal mask and no descriptors above kSyncDescriptor that are not
/// close-on-exec. Any thread; the calling thread stands still meanwhile (CLONE_VFORK), nobody else.
Result<Spawned> spawn_init(const SpawnRequest& request);

}  // namespace kata::container
