// The guest's half of a pod: its shares and its containers.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent/container/container.h"
#include "agent/container/environment.h"
#include "agent/network/guest_network.h"
#include "common/error/error.h"

namespace kata::sandbox {

struct Share {
  std::string tag;
  std::string mount_point;
  bool read_only = false;
};

struct SandboxRequest {
  std::string id;
  std::string hostname;
  std::vector<Share> shares;
  int64_t host_time_unix_ns = 0;
  std::string entropy;
  uint64_t shm_bytes = 0;  // 0: the kernel's default
};

struct SandboxInfo {
  std::string agent_version;
  std::string kernel_release;
  std::chrono::microseconds setup_time{0};
};

/// Any thread; calls may overlap. The lock guards the maps only and is never held across the
/// making, starting or removal of a container.
class Sandbox {
 public:
  /// `owns_guest`: the agent is PID 1, so the host name and the clock are the sandbox's to set.
  /// `setup_time`: what the agent needed before it was ready.
  Sandbox(container::Environment environment, bool owns_guest, std::chrono::microseconds setup_time)
      : environment_(std::move(environment)), owns_guest_(owns_guest), setup_time_(setup_time) {}

  /// Makes the guest small for being saved, before there is a sandbox in it: FailedPrecondition
  /// when there is one.
  Status prepare_template();

  /// Once, first: FailedPrecondition when repeated after a success.
  Result<SandboxInfo> create(const SandboxRequest& request);

  /// Sets the guest's clock by the host's, unless there is a container that would see the step.
  Status correct_clock(int64_t host_unix_ns);

  /// The guest's processors and what goes by their number. See processors.h.
  Status use_processors(uint32_t count, std::chrono::seconds limit);

  /// See clock.h; 0: nothing. An agent that is no guest's leaves the clock as it is.
  Status adjust_clock(std::chrono::nanoseconds gain);

  /// AlreadyExists from the moment another create with this id began until its container is
  /// removed.
  Result<std::shared_ptr<container::Container>> create_container(container::CreateRequest request);
  /// NotFound; FailedPrecondition while the container is being created.
  Result<std::shared_ptr<container::Container>> find(const std::string& id) const;
  Status remove_container(const std::string& id);

  /// Gives the guest its network, whole: FailedPrecondition before there is a sandbox.
  Status update_network(const network::Network& wanted);

  /// What all containers use together; also before the first and after the last.
  Result<isolation::Cgroup> pod_cgroup() const {
    return isolation::Cgroup::pod(environment_.cgroup_root);
  }

  /// Kills and removes every container that is not being created just now.
  void remove_all();

 private:
  const container::Environment environment_;
  const bool owns_guest_;
  const std::chrono::microseconds setup_time_;

  network::GuestNetwork network_;
  mutable std::mutex mutex_;
  bool created_ = false;                   // guarded by mutex_
  std::vector<std::string> share_points_;  // guarded by mutex_
  /// Guarded by mutex_. Null while the container is being created.
  std::map<std::string, std::shared_ptr<container::Container>> containers_;
};

}  // namespace kata::sandbox
