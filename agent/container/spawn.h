// Starting a process of a container: clone3(2) and execveat(2) of our own binary.
#pragma once

#include <array>
#include <optional>
#include <string>

#include <sys/types.h>

#include "agent/isolation/user_namespace.h"
#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::container {

/// argv[0] by which main() knows that it is to become a process of a container.
inline constexpr const char* kInitName = "kata-init";
/// Descriptor of the sync socket in the new process; 0, 1 and 2 are its streams.
inline constexpr int kSyncDescriptor = 3;
/// Of the container's init, as a pidfd, in an exec. In an init nothing is there.
inline constexpr int kInitDescriptor = 4;

struct SpawnRequest {
  int executable = -1;            // of kata-agent, O_PATH will do; borrowed
  std::array<int, 3> stdio = {};  // borrowed
  int sync = -1;                  // the new process's end; borrowed
  int cgroup = -1;                // directory in which the process is born; borrowed
  int container_init = -1;        // pidfd for an exec, which gets it; borrowed

  /// In which the process is born as root, with the pid namespace that it may make; borrowed.
  const isolation::UserNamespace* user_namespace = nullptr;
  /// Of a process in a user namespace, which could not lower it.
  int oom_score_adj = 0;

  /// At most one of these; else the process is born in the agent's own pid namespace.
  bool new_pid_namespace = false;           // the process becomes its pid 1
  std::string join_pid_namespace;           // path of a namespace file
  bool join_pid_namespace_of_init = false;  // that of container_init
};

struct Spawned {
  pid_t pid = -1;
  UniqueFd pidfd;
};

/// The child is a direct child of this process, born in its cgroup and pid namespace, with an empty
/// signal mask and no other descriptors than those named above. Where the pid namespace holds
/// others already, the child may not have called execveat yet; what is wrong with a user namespace
/// is known. Any thread; the reaper must not collect children meanwhile.
Result<Spawned> spawn_process(const SpawnRequest& request);

}  // namespace kata::container
