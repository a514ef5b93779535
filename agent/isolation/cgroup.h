// A container's control group (cgroup v2), used by the agent itself, not by the container's init.
// https://docs.kernel.org/admin-guide/cgroup-v2.html
//
// Layout: <root>/kata/<container id>; no process ever lives in <root>/kata itself. The container
// may make groups below its own: pids, kill and remove mean the whole subtree.
//
// Lifecycle: create -> apply -> add (or clone3 with CLONE_INTO_CGROUP and descriptor()) ->
// kill -> remove. The destructor removes nothing. Threading: distinct objects are independent; the
// calls of one object may run on any thread, those that change it one at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <sys/types.h>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

inline constexpr const char* kCgroupRoot = "/sys/fs/cgroup";

class Cgroup {
 public:
  /// Makes the group, enabling for it every controller the kernel has. `id` has passed validate_id.
  /// AlreadyExists if the group is there.
  static Result<Cgroup> create(const std::string& id,
                               const std::filesystem::path& root = kCgroupRoot);

  /// <root>/kata, made if it is not there yet: what all containers use together. To be read only.
  static Result<Cgroup> pod(const std::filesystem::path& root = kCgroupRoot);

  /// Changes what is named, and nothing else (but for memory's swap, see cgroup_memory.h), as runc
  /// converts it from the spec's cgroup v1 terms: files of memory, cpu, cpuset, io, pids, hugetlb,
  /// rdma, and then those that `unified` names. Limits of a controller that the kernel lacks are
  /// FailedPrecondition naming it. Devices are limited elsewhere (device_filter.h).
  Status apply(const oci::Resources& resources);

  /// For clone3(2). Borrowed: valid as long as this object.
  int descriptor() const { return dir_.get(); }
  const std::filesystem::path& path() const { return path_; }

  /// Lets `uid`, root of a user namespace, make groups below this one: it owns what the kernel says
  /// is to be delegated.
  Status give_to(uid_t uid) const;

  /// Moves one process, by its pid in the caller's pid namespace.
  Status add(pid_t pid);

  /// Every process of the subtree, ascending, pids of the caller's namespace.
  Result<std::vector<pid_t>> pids() const;
  Result<bool> populated() const;

  /// Waits on cgroup.events, up to the deadline, until the whole subtree stands still or runs
  /// again.
  Status freeze(std::chrono::milliseconds timeout);
  Status thaw(std::chrono::milliseconds timeout);
  /// Whether freeze() has been called last.
  Result<bool> frozen() const;

  /// SIGKILL to every process of the subtree, races with fork included (cgroup.kill).
  Status kill();

  /// Removes the subtree: waits for its dying processes (kill() them first) up to the deadline.
  /// Fine if it is gone already. DeadlineExceeded if something still lives.
  Status remove(std::chrono::milliseconds timeout);

  /// One file of the group's own: "memory.stat"… NotFound where the kernel lacks its controller.
  Result<std::string> read(const char* file) const;

  /// Processes of the subtree killed for memory so far (memory.events oom_kill); 0 where the kernel
  /// has no memory controller.
  Result<uint64_t> oom_kills() const;
  /// How often memory was refused for the limit, whether or not somebody could be killed for it
  /// (memory.events oom); 0 where that cannot be read.
  uint64_t oom_events() const;

 private:
  Cgroup(std::filesystem::path path, UniqueFd dir) : path_(std::move(path)), dir_(std::move(dir)) {}

  std::filesystem::path path_;
  UniqueFd dir_;
};

}  // namespace kata::isolation
