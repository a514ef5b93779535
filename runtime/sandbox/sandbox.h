// One pod: its VM, its share, its agent and its containers.
//
// Lifecycle: constructed idle; boot() or the first create() boots the VM; stop() ends it and keeps
// the containers' records, shutdown() (or destruction) ends everything. A container: create ->
// (Created) start -> (Running) … exit -> (Stopped) remove. remove() is also legal from Created. A
// call that is illegal in the current state answers FailedPrecondition, an unknown id NotFound, an
// id in use AlreadyExists.
//
// Threading: everything happens on the one thread of `executor`; calls may overlap at their awaits.
// No call waits for another one's boot or RPC: state(), pids of other containers, kill() and wait()
// answer while a create() is under way.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/sys/async.h"
#include "runtime/config/config.h"
#include "runtime/sandbox/hooks.h"
#include "runtime/sandbox/process_io.h"

namespace kata::sandbox {

/// A mount that containerd's snapshotter hands over (containerd.types.Mount).
struct RootfsMount {
  std::string type;
  std::string source;
  std::vector<std::string> options;
};

struct CreateContainer {
  std::string id;
  std::filesystem::path bundle;  // holds config.json
  std::vector<RootfsMount> rootfs;
  std::unique_ptr<ProcessIo> io;
  /// Of the configuration that the client wants for the pod; counts for its first container.
  std::filesystem::path config_path = {};
};

struct ExecProcess {
  std::string container_id;
  std::string exec_id;
  /// The object `process` of the OCI runtime-spec, JSON.
  std::string spec_json;
  std::unique_ptr<ProcessIo> io;
};

enum class ProcessStatus { kCreated, kRunning, kStopped, kPaused, kUnknown };

struct ProcessExit {
  uint32_t status = 0;
  std::chrono::system_clock::time_point at;
};

struct ProcessState {
  ProcessStatus status = ProcessStatus::kUnknown;
  /// Of an init: the VM's QEMU on the host. Of an exec: in the guest, 0 before its start.
  uint32_t pid = 0;
  std::filesystem::path bundle;
  ProcessExit exit;  // valid when kStopped
};

struct ContainerProcess {
  /// In the guest's root pid namespace.
  uint32_t pid = 0;
  /// Of an exec's first process; empty for all others.
  std::string exec_id;
};

struct RemovedProcess {
  uint32_t pid = 0;
  ProcessExit exit;
};

/// Told about every process that ends, on the sandbox's executor, once, after start() has answered.
/// exec_id is empty for a container's init.
using ExitHandler = std::function<void(const std::string& container_id, const std::string& exec_id,
                                       uint32_t pid, const ProcessExit& exit)>;

/// Told when the OOM killer of the guest has ended processes of the container.
using OomHandler = std::function<void(const std::string& container_id)>;

/// Calls that await take their arguments by value: what they answer may be awaited later, when a
/// temporary of the caller is gone.
class Sandbox {
 public:
  virtual ~Sandbox() = default;

  /// What the annotations of a pod without containers change of its settings, before its boot:
  /// otherwise its first container's do. InvalidArgument, PermissionDenied: see
  /// config::apply_annotations().
  virtual Status annotate(const std::map<std::string, std::string>& annotations) = 0;
  /// Boots the VM without a container, unless it runs; answers the host pid. An empty hostname is
  /// the host's, a second one comes too late.
  virtual Async<uint32_t> boot(std::string hostname) = 0;
  /// Completes when the VM has ended: status 0 if it was stopped, as after SIGKILL if it ended by
  /// itself. FailedPrecondition: it has never run.
  virtual Async<ProcessExit> wait_vm() = 0;
  /// Whether the guest's agent answers.
  virtual Async<void> ping() = 0;
  /// Of all containers together: an encoded message io.containerd.cgroups.v2.Metrics.
  virtual Async<std::string> pod_metrics() = 0;
  /// Asks what runs to end (SIGTERM), and ends the VM after at most `limit`; ends a boot under way.
  /// Containers stay to be asked for and removed, new ones are refused. Safe to repeat.
  virtual Async<void> stop(std::chrono::seconds limit) = 0;

  /// Boots the VM if this is the first container; answers the host pid.
  virtual Async<uint32_t> create(CreateContainer request) = 0;
  /// Adds a process to a container; the guest hears of it when it is started.
  virtual Async<void> exec(ExecProcess request) = 0;
  /// An empty exec_id is the container's init, here and below. Answers the pid that state() shows.
  virtual Async<uint32_t> start(std::string id, std::string exec_id) = 0;
  virtual Result<ProcessState> state(const std::string& id, const std::string& exec_id) const = 0;
  virtual Async<void> kill(std::string id, std::string exec_id, uint32_t signal, bool all) = 0;
  virtual Async<ProcessExit> wait(std::string id, std::string exec_id) = 0;
  /// Forgets the process; for an init removes the container. FailedPrecondition while it runs.
  virtual Async<RemovedProcess> remove(std::string id, std::string exec_id) = 0;
  virtual Async<std::vector<ContainerProcess>> pids(std::string id) = 0;
  virtual Status close_stdin(const std::string& id, const std::string& exec_id) = 0;
  /// In characters. Before the start of an exec it is the size that its terminal will have.
  virtual Async<void> resize(std::string id, std::string exec_id, uint32_t columns,
                             uint32_t rows) = 0;

  virtual Async<void> pause(std::string id) = 0;
  virtual Async<void> resume(std::string id) = 0;
  /// `resources_json`: the object `linux.resources` of the OCI runtime-spec.
  virtual Async<void> update(std::string id, std::string resources_json) = 0;
  /// An encoded message io.containerd.cgroups.v2.Metrics.
  virtual Async<std::string> metrics(std::string id) = 0;

  virtual bool has_containers() const = 0;
  /// Ends the VM and removes everything the sandbox made on the host. Safe to repeat.
  virtual Async<void> shutdown() = 0;
};

struct SandboxOptions {
  std::string id;           // the pod's: of the first container, or the CRI sandbox id
  std::string nspace;       // containerd namespace
  std::string run_dir_key;  // see state.h: names <state_root>/<key>
  config::Config config;
  HostNamespaces host;
};

/// The real one (QEMU, virtiofsd, agent). It is kept alive by its own coroutines, too: end it with
/// shutdown().
std::shared_ptr<Sandbox> make_sandbox(asio::any_io_executor executor, SandboxOptions options,
                                      ExitHandler on_exit, OomHandler on_oom);

}  // namespace kata::sandbox
