// One container of the guest: its control group, its init and its execs.
//
// Lifecycle: create() -> Created -> start() -> Running -> its init ends -> Stopped -> remove().
// remove() is legal from Created too: the init is killed. A call that the state does not allow
// answers FailedPrecondition; the object stays usable after every error.
//
// Threading: any thread; calls may overlap. No lock is held while a call waits.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/container/container_process.h"
#include "agent/container/environment.h"
#include "agent/container/execs.h"
#include "agent/container/oom_watch.h"
#include "agent/container/process.h"
#include "agent/container/stdio.h"
#include "agent/isolation/cgroup.h"
#include "agent/isolation/device_filter.h"
#include "agent/isolation/user_namespace.h"
#include "agent/storage/disk_mounts.h"
#include "agent/storage/disk_root.h"
#include "agent/storage/held_mounts.h"
#include "agent/storage/volumes.h"
#include "common/error/error.h"
#include "common/oci/spec.h"
#include "common/storage/hugepage_volume.h"

namespace kata::container {

struct CreateRequest {
  std::string id;
  std::string spec_json;
  std::string rootfs;  // absolute directory of the guest; replaces root.path
  StdioWanted stdio;
  std::optional<storage::RootDisks> root_disks = {};  // instead of rootfs
  std::vector<storage::Volume> volumes = {};
  std::vector<storage::HugepageVolume> hugepage_volumes = {};
  std::vector<std::string> shares = {};  // where the sandbox's are mounted
  // See isolation::ContainerInfo.
  std::string bundle = {};
  std::map<std::string, std::string> hook_programs = {};
};

struct ExecRequest {
  std::string id;
  std::string process_json;
  StdioWanted stdio;
};

class Container : public std::enable_shared_from_this<Container> {
 public:
  /// Up to the point where only execve is missing. On failure nothing is left. Errors keep the code
  /// of the first failing step; see ContainerProcess.
  static Result<std::shared_ptr<Container>> create(const Environment& environment,
                                                   CreateRequest request);
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;
  ~Container();

  pid_t pid() const { return init_->pid(); }
  const StdioPorts& ports() const { return init_->ports(); }

  /// A further process in the container, up to the same point; what the request leaves open is as
  /// for the init, as with runc. AlreadyExists: the id is taken. FailedPrecondition: the container
  /// is stopped or paused.
  Result<std::shared_ptr<ContainerProcess>> create_exec(const ExecRequest& request);
  /// An empty id is the init. NotFound: no such exec.
  Result<std::shared_ptr<ContainerProcess>> process(const std::string& exec_id) const;
  /// Forgets an exec and ends its streams. One that never started is killed; FailedPrecondition
  /// while it runs.
  Status remove_exec(const std::string& id);

  /// Returns when execve has succeeded, or with its error: the process is Stopped then.
  Status start(const std::string& exec_id = "");
  /// To one process, or to every process of the container. NotFound: it has ended.
  Status signal(uint32_t signal, bool all, const std::string& exec_id = "");
  /// Of the init; see Process::when_ended.
  void when_ended(Process::ExitHandler handler) { init_->when_ended(std::move(handler)); }
  Result<std::vector<pid_t>> pids() const { return cgroup_.pids(); }

  /// Answer when every process stands still, or runs again. FailedPrecondition: the init does not
  /// run. DeadlineExceeded: a process is stuck in the kernel; the container runs on.
  Status pause();
  Status resume();
  /// The JSON of linux.resources: changes the limits that are named.
  Status update(std::string_view resources_json);
  /// A file of the control group; NotFound where the kernel lacks its controller.
  Result<std::string> stat_file(const char* name) const { return cgroup_.read(name); }
  /// See OomWatch::wait.
  void when_oom(uint64_t seen, OomWatch::Handler handler) {
    oom_watch_->wait(seen, std::move(handler));
  }

  /// Kills what is left, forgets the execs, removes the control group. FailedPrecondition while the
  /// init runs. Harmless when repeated.
  Status remove();
  /// The same, but a running container is killed.
  Status kill_and_remove();

 private:
  Container(const Environment& environment, const CreateRequest& request, const oci::Spec& spec,
            isolation::Cgroup cgroup);

  /// Changes the specification, in both forms, to the guest's numbers and paths.
  Status provide_volumes(CreateRequest& request, oci::Spec& spec);
  Status provide_hugepages(const CreateRequest& request, const oci::Spec& spec);
  Status reserve_hugepages(const std::vector<oci::HugepageLimit>& limits);
  void release_hugepages();
  Status create_init(const CreateRequest& request, const oci::Spec& spec);
  Result<std::string> provide_root(const CreateRequest& request);
  /// The parts of a request that a user namespace makes necessary.
  Status plan_own_ids(const oci::Spec& spec, ProcessRequest& wanted);
  Status limit_devices(const std::vector<oci::DeviceRule>& rules);
  Result<ProcessRequest> exec_request(const ExecRequest& request);
  /// For the container's own processes, which must not keep it.
  static uint64_t oom_events(const std::weak_ptr<const Container>& weak);
  /// Why an exec cannot be made or started now, if so.
  Status check_exec_possible() const;

  const Environment environment_;
  const std::string id_;
  const oci::Process init_settings_;  // what an exec takes over; see complete_exec_process
  const std::string personality_;     // its domain, for execs; empty: the usual
  isolation::DeviceFilter device_filter_;
  std::string seccomp_filter_;  // for the init and every exec; empty: none
  isolation::Cgroup cgroup_;
  std::atomic<bool> checks_memory_usage_;  // memory.checkBeforeUpdate, of the spec or an update
  storage::DiskMounts disk_mounts_;        // of its root and volumes
  storage::DeviceNumbers volume_numbers_;  // never changes after create()
  std::unique_ptr<storage::HeldMounts> held_mounts_;  // never changes after create()
  std::vector<std::string> share_places_;             // until remove()
  std::atomic<bool> has_hugepages_ = false;
  std::optional<isolation::UserNamespace> user_namespace_;  // never changes after create()
  isolation::IdMappings uids_;                              // of it; never changes after create()
  int rarer_namespaces_ = 0;                                // never changes after create()
  bool own_pid_namespace_ = false;                          // never changes after create()
  bool shares_agents_pid_namespace_ = false;                // never changes after create()
  std::shared_ptr<ContainerProcess> init_;                  // never changes after create()
  Execs execs_;
  const std::shared_ptr<OomWatch> oom_watch_;
};

}  // namespace kata::container
