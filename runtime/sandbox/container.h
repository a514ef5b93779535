// What the sandbox knows of one container and its processes.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/oci/spec.h"
#include "common/sys/event.h"
#include "common/sys/promise.h"
#include "runtime/agent_client/agent.h"
#include "runtime/sandbox/disks.h"
#include "runtime/sandbox/guest_filter.h"
#include "runtime/sandbox/pod_size.h"
#include "runtime/sandbox/sandbox.h"
#include "runtime/storage/container_storage.h"
#include "runtime/storage/host_disks.h"

namespace kata::sandbox {

/// A container's init or an exec. Plain state, changed only by KataSandbox on its executor. Phases
/// go one way: creating -> created -> starting -> running -> stopped -> removing. An exit may come
/// at any phase from created on. An exec whose start failed is created again, as with runc.
struct Process {
  enum class Phase { kCreating, kCreated, kStarting, kRunning, kStopped, kRemoving };

  Process(const asio::any_io_executor& executor, std::string container, std::string exec,
          std::unique_ptr<ProcessIo> process_io)
      : container_id(std::move(container)),
        exec_id(std::move(exec)),
        io(std::move(process_io)),
        exited(executor),
        start_finished(executor) {}

  bool is_init() const { return exec_id.empty(); }
  bool runs() const { return phase == Phase::kStarting || phase == Phase::kRunning; }

  const std::string container_id;
  const std::string exec_id;  // empty: the container's init
  std::unique_ptr<ProcessIo> io;
  Phase phase = Phase::kCreating;
  /// The process object of the OCI spec, JSON. Of an exec, which the agent hears of when it starts.
  std::string spec_json;
  /// What clients are told: the VM's on the host for an init, the guest's for an exec.
  uint32_t pid = 0;
  /// In the guest's root pid namespace; 0 before the agent knows the process.
  uint32_t guest_pid = 0;
  /// Asked for before there is a terminal in the guest.
  std::optional<agent_client::TerminalSize> terminal_size;
  /// The client has read all output, or had its time for it.
  bool output_settled = false;
  /// Set once, when the process has ended or its VM has.
  sys::Promise<ProcessExit> exited;
  /// A start() has not answered yet.
  bool start_under_way = false;
  /// Set when start() has its answer: an exit is reported after it.
  sys::Promise<bool> start_finished;
};

struct Container {
  Container(const asio::any_io_executor& executor, CreateContainer request)
      : id(std::move(request.id)),
        bundle(std::move(request.bundle)),
        config_path(std::move(request.config_path)),
        init(std::make_shared<Process>(executor, id, "", std::move(request.io))) {}

  const std::string id;
  const std::filesystem::path bundle;
  const std::filesystem::path config_path;
  const std::shared_ptr<Process> init;
  std::map<std::string, std::shared_ptr<Process>> execs;
  /// Of config.json as it was at the create: later changes do not count.
  oci::Hooks hooks;
  std::map<std::string, std::string> annotations;
  std::unique_ptr<storage::ContainerStorage> storage;
  /// Of what clients say of it, from its specification on.
  GuestFilter filter;
  /// As updates have left them.
  ContainerLimits limits;
  /// Of its root, where that is not shared.
  AttachedDisks disks;
  /// Block devices of the host that it uses, and what the guest finds each by.
  std::vector<std::pair<storage::HostDisk, std::string>> volumes;
  /// The agent knows the container: it must be deleted there.
  bool in_guest = false;
  bool paused = false;
  /// While a pause or a resume is under way: set when it is done.
  std::optional<sys::Event> pausing;
};

}  // namespace kata::sandbox
