// What a sandbox is made of, so that tests can put fakes in each place.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "runtime/agent_client/agent.h"
#include "runtime/factory/template_store.h"
#include "runtime/hypervisor/hypervisor.h"
#include "runtime/network/pod_network.h"
#include "runtime/sandbox/pod_size.h"
#include "runtime/sandbox/sandbox.h"
#include "runtime/storage/container_storage.h"
#include "runtime/storage/share.h"
#include "runtime/vsock/vsock.h"

namespace kata::sandbox {

/// After the start of a VM, and from then on.
struct ClockChecks {
  std::chrono::milliseconds first{10'000};
  std::chrono::milliseconds interval{60'000};
};

struct Parts {
  std::function<Result<std::unique_ptr<vsock::Backend>>(const std::filesystem::path& run_dir)>
      open_vsock;
  std::function<Result<std::unique_ptr<storage::Share>>(const std::filesystem::path& run_dir)>
      start_share;
  std::function<Result<std::unique_ptr<storage::ContainerStorage>>(
      std::shared_ptr<storage::SharedBinds> binds, const std::string& container_id)>
      open_storage;
  std::function<Result<std::unique_ptr<hypervisor::Launcher>>()> open_launcher;
  std::function<Result<hypervisor::Accelerator>()> choose_accelerator;
  std::function<std::unique_ptr<agent_client::Agent>(UniqueFd socket)> connect_agent;
  /// The pod's network; answers null, or is null itself, where it has no namespace of its own.
  std::function<Result<std::unique_ptr<network::PodNetwork>>()> open_network;
  /// When guests' clocks are compared with the host's.
  ClockChecks clock_checks;
  /// What this host has for VMs.
  VmSize host;
  /// Null: every VM boots.
  std::shared_ptr<const factory::TemplateStore> templates;
  /// All of this again, for a pod whose settings have changed. Null: they are part of nothing here.
  std::function<Parts(const SandboxOptions&)> remake;
};

/// The real ones, as the options say, which are copied.
Parts make_parts(asio::any_io_executor executor, const SandboxOptions& options);

}  // namespace kata::sandbox
