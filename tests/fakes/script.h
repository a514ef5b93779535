// What a test tells the fake parts of a pod to do, and what they count (fake_pod.h).
#pragma once

#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/sys/promise.h"
#include "runtime/agent_client/agent.h"
#include "runtime/hypervisor/hypervisor.h"
#include "runtime/sandbox/parts.h"

namespace kata::fakes {

/// Where the fake pod fails. Each names the part's call.
enum class Step {
  kNone,
  kOpenVsock,
  kStartShare,
  kOpenLauncher,
  kLaunch,
  kShareDies,    // virtiofsd ends while QEMU starts
  kGuestDies,    // QEMU ends before the agent is ready
  kGuestSilent,  // the agent never answers
  kGuestGarbles,
  kCreateSandbox,
  kOpenStorage,
  kMountRootfs,
  kCreateContainer,
  kDialStdio,
  kStart,
  kCreateExec,
  kPing,
  kResize,       // more processors
  kMemoryStays,  // the guest does not give memory back
  kAttach,       // a device to a VM that runs
  kDetach,       // while a template is made
  kRestore,      // QEMU does not take a template's state
  kCloneSilent,  // the agent of a clone never answers
  kVmKilled,     // somebody kills QEMU while a template is made or continued
};

inline constexpr const char* kKilled = "killed by signal 9";

/// What the test scripts and counts. Outlives the parts.
struct Script {
  explicit Script(asio::any_io_executor e) : executor(std::move(e)) {}

  asio::any_io_executor executor;
  Step fail_at = Step::kNone;

  int vsocks = 0;
  int shares = 0;
  int vms = 0;
  int storages = 0;
  std::set<std::string> guest_containers;
  std::set<std::string> guest_execs;
  std::vector<std::string> calls;     // of the agent
  std::vector<std::string> vm_calls;  // of launcher and VMs
  hypervisor::VmConfig last_vm;       // that was launched
  agent_client::SandboxSettings last_settings;
  agent_client::ContainerSpec last_spec;  // of the container created last
  agent_client::ContainerRoot last_root;
  std::chrono::nanoseconds clock_ahead{};  // the guest's
  std::vector<std::chrono::nanoseconds> clock_gains;
  uint64_t oom_kills = 0;
  bool has_network = false;             // a namespace of its own
  std::vector<std::string> interfaces;  // that are in it
  int connected_interfaces = 0;
  int network_attempts = 0;  // to make cards
  uint32_t network_queues = 0;
  std::map<std::string, sys::Promise<Result<agent_client::ProcessExit>>> exits;
  std::set<std::string> ignores_sigterm;
  bool guest_hangs = false;             // takes no signal any more
  std::set<std::string> ends_at_start;  // containers whose process ends as soon as it is started
  std::unique_ptr<sys::Promise<std::string>> vm_end;
  std::unique_ptr<sys::Promise<std::string>> share_end;
  std::filesystem::path run_dir;

  bool nothing_left() const {
    return vsocks == 0 && shares == 0 && vms == 0 && storages == 0 && connected_interfaces == 0 &&
           !std::filesystem::exists(run_dir);
  }
  void end_process(const std::string& id, uint32_t status) {
    agent_client::ProcessExit exit;
    exit.status = status;
    exit.at = std::chrono::system_clock::now();
    exits.at(id).set(exit);
  }
  /// The VM ends, and with it every call to its agent.
  void end_vm(const std::string& reason) {
    if (vm_end->is_set()) return;
    --vms;
    vm_end->set(reason);
    for (auto& [id, exit] : exits) exit.set(fail(Code::kUnavailable, "connection lost"));
  }
  Status at(Step step) const {
    if (fail_at == step) return fail(Code::kResourceExhausted, "told to fail");
    return {};
  }
};

}  // namespace kata::fakes
