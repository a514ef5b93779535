#include "runtime/sandbox/parts.h"

#include "common/agent_protocol.h"
#include "runtime/agent_client/grpc_agent.h"
#include "runtime/config/annotations.h"
#include "runtime/hypervisor/accelerator.h"
#include "runtime/hypervisor/direct.h"
#include "runtime/hypervisor/libvirt_loader.h"
#include "runtime/sandbox/kata_sandbox.h"
#include "runtime/sandbox/namespaces.h"

namespace kata::sandbox {
namespace {

using network::PodNetwork;

Result<std::unique_ptr<vsock::Backend>> open_vsock(asio::any_io_executor executor,
                                                   config::VsockChoice choice,
                                                   const std::filesystem::path& run_dir) {
  switch (choice) {
    case config::VsockChoice::kKernel:
      return vsock::open_kernel(std::move(executor));
    case config::VsockChoice::kVhostUser:
      return vsock::open_vhost_user(std::move(executor), run_dir);
    case config::VsockChoice::kAuto:
      break;
  }
  return vsock::open_best(std::move(executor), run_dir);
}

/// Empty: the best there is.
std::optional<hypervisor::Accelerator> wanted_accelerator(config::AcceleratorChoice choice) {
  switch (choice) {
    case config::AcceleratorChoice::kKvm:
      return hypervisor::Accelerator::kKvm;
    case config::AcceleratorChoice::kTcg:
      return hypervisor::Accelerator::kTcg;
    case config::AcceleratorChoice::kAuto:
      break;
  }
  return std::nullopt;
}

}  // namespace

Parts make_parts(asio::any_io_executor executor, const SandboxOptions& options) {
  const config::Config& config = options.config;
  Parts parts;
  parts.open_vsock = [executor, choice = config.hypervisor.vsock](auto& run_dir) {
    return open_vsock(executor, choice, run_dir);
  };
  parts.start_share = [executor, wanted = config.hypervisor](auto& run_dir) {
    storage::VirtiofsdOptions options;
    options.daemon = wanted.virtio_fs_daemon;
    options.run_dir = run_dir;
    options.cache = wanted.virtio_fs_cache;
    options.tag = kShareTag;
    return storage::start_virtiofsd(executor, options);
  };
  parts.open_storage = storage::open_container_storage;
  parts.open_launcher =
      [executor, wanted = config.hypervisor]() -> Result<std::unique_ptr<hypervisor::Launcher>> {
    if (wanted.launcher == config::LauncherChoice::kLibvirt)
      return hypervisor::load_libvirt_launcher(executor, wanted.libvirt_uri);
    return hypervisor::make_direct_launcher(executor);
  };
  parts.choose_accelerator = [choice = config.hypervisor.accelerator] {
    return hypervisor::choose_accelerator(wanted_accelerator(choice));
  };
  parts.connect_agent = [executor](UniqueFd socket) {
    return agent_client::connect(executor, std::move(socket));
  };
  parts.open_network = [host = options.host.network]() -> Result<std::unique_ptr<PodNetwork>> {
    // The host's own interfaces are nobody's pod's.
    KATA_TRY(const bool is_hosts, is_network_namespace_of(host));
    if (is_hosts) return nullptr;
    return network::open_pod_network();
  };
  const config::HostSize host = config::host_size();
  parts.host = {.vcpus = host.processors, .memory_mib = host.memory_mib};
  if (config.factory.use_template)
    parts.templates = std::make_shared<factory::TemplateStore>(config.factory.template_path);
  parts.remake = [executor](const SandboxOptions& changed) {
    return make_parts(executor, changed);
  };
  return parts;
}

std::shared_ptr<Sandbox> make_sandbox(asio::any_io_executor executor, SandboxOptions options,
                                      ExitHandler on_exit, OomHandler on_oom) {
  Parts parts = make_parts(executor, options);
  return std::make_shared<KataSandbox>(std::move(executor), std::move(options), std::move(parts),
                                       std::move(on_exit), std::move(on_oom));
}

}  // namespace kata::sandbox
