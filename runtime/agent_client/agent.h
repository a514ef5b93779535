// What the sandbox asks of the guest's agent (proto/agent.proto), free of gRPC types.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/network/network.h"
#include "common/storage/hugepage_volume.h"
#include "common/storage/volume_mount.h"
#include "common/sys/async.h"

namespace kata::agent_client {

struct Share {
  std::string tag;
  std::string mount_point;
};

/// What a sandbox is in the guest.
struct SandboxSettings {
  std::string id;
  std::string hostname;
  std::vector<Share> shares;
  uint64_t shm_bytes = 0;  // of /dev/shm; 0: the kernel's default
};

struct StdioWanted {
  bool in = false;
  bool out = false;
  bool err = false;
};

/// A file system on a disk of the VM.
struct Disk {
  std::string serial;
  std::string fs_type;
  std::vector<std::string> options;
};

/// What becomes a container's root: a directory of the guest, or disks (proto/agent.proto, Root).
struct ContainerRoot {
  std::string directory;
  std::vector<Disk> disks;
  std::string upper;
  std::string work;
};

/// A block device of the host that is a disk of the VM (proto/agent.proto, Volume).
struct Volume {
  std::string serial;
  uint32_t major = 0;
  uint32_t minor = 0;
  std::vector<storage::VolumeMount> mounts;
};

struct ContainerSpec {
  std::string oci_json;
  std::string bundle;  // on the host
  /// Files of the guest in place of programs of createContainer hooks, by the hooks' paths.
  std::map<std::string, std::string> hook_programs;
  std::vector<Volume> volumes;
  std::vector<storage::HugepageVolume> hugepage_volumes;
};

/// vsock ports of a created process; 0 where the stream was not wanted.
struct StdioPorts {
  uint32_t in = 0;
  uint32_t out = 0;
  uint32_t err = 0;
};

struct SandboxInfo {
  std::string agent_version;
  std::string kernel_release;
  /// From the start of the agent to its ready line, as the guest says.
  std::chrono::microseconds agent_setup_time{0};
};

struct CreatedProcess {
  uint32_t guest_pid = 0;
  StdioPorts ports;
};

/// In characters.
struct TerminalSize {
  uint32_t columns = 0;
  uint32_t rows = 0;
};

struct ProcessExit {
  /// As a shell has it: the exit code, or 128 + n after signal n.
  uint32_t status = 0;
  std::chrono::system_clock::time_point at;
};

/// Calls of one connection. Used on one executor; calls may overlap. Errors keep the agent's code;
/// a lost connection is Unavailable.
class Agent {
 public:
  virtual ~Agent() = default;

  /// Instead of create_sandbox(), in a VM that is about to be saved.
  virtual Async<void> prepare_template() = 0;
  /// The guest gets the host's time and random bytes of the host with it.
  virtual Async<SandboxInfo> create_sandbox(const SandboxSettings& settings) = 0;
  virtual Async<CreatedProcess> create_container(const std::string& id, const ContainerSpec& spec,
                                                 const ContainerRoot& root, StdioWanted wanted) = 0;
  virtual Async<CreatedProcess> create_exec(const std::string& id, const std::string& exec_id,
                                            const std::string& oci_process_json,
                                            StdioWanted wanted) = 0;
  /// An empty exec_id is the container's init, here and below.
  virtual Async<void> start_process(const std::string& id, const std::string& exec_id) = 0;
  virtual Async<void> signal(const std::string& id, const std::string& exec_id, uint32_t signal,
                             bool all) = 0;
  virtual Async<ProcessExit> wait(const std::string& id, const std::string& exec_id) = 0;
  virtual Async<std::vector<uint32_t>> list_processes(const std::string& id) = 0;
  virtual Async<void> delete_exec(const std::string& id, const std::string& exec_id) = 0;
  virtual Async<void> delete_container(const std::string& id) = 0;

  virtual Async<void> resize_terminal(const std::string& id, const std::string& exec_id,
                                      TerminalSize size) = 0;
  virtual Async<void> pause_container(const std::string& id) = 0;
  virtual Async<void> resume_container(const std::string& id) = 0;
  virtual Async<void> update_container(const std::string& id,
                                       const std::string& oci_resources_json) = 0;
  /// The whole of the pod's network, each time. DeadlineExceeded: a card has not come.
  virtual Async<void> update_network(const network::Network& network) = 0;
  /// Has the guest use so many of the VM's processors and, with `hot_memory`, makes it ready for
  /// memory that comes and goes. NotFound: a processor has not come.
  virtual Async<void> resize_guest(uint32_t processors, bool hot_memory) = 0;
  /// The guest's wall clock since the epoch, after it has been told to gain so much (0: nothing),
  /// at once if it is much, else gradually. OutOfRange: the guest says something that is no time.
  virtual Async<std::chrono::nanoseconds> adjust_clock(std::chrono::nanoseconds gain) = 0;
  /// A message io.containerd.cgroups.v2.Metrics, encoded. An empty id: of all containers together.
  virtual Async<std::string> metrics(const std::string& id) = 0;
  /// DeadlineExceeded: the agent has not answered for so long that it must hang.
  virtual Async<void> ping() = 0;
  /// Answers when the OOM killer has ended more processes than `seen`: how many. NotFound when the
  /// container is deleted.
  virtual Async<uint64_t> wait_oom(const std::string& id, uint64_t seen) = 0;
};

}  // namespace kata::agent_client
