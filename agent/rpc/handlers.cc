#include "agent/rpc/handlers.h"

#include <utility>

#include "agent/rpc/metrics.h"
#include "agent/sandbox/clock.h"
#include "agent/sandbox/modules.h"
#include "common/base/id.h"
#include "common/log/log.h"

namespace kata::rpc {
namespace {

Result<std::shared_ptr<container::Container>> find(const sandbox::Sandbox& sandbox,
                                                   const std::string& container_id) {
  KATA_CHECK(validate_id("container id", container_id));
  return sandbox.find(container_id);
}

Result<std::shared_ptr<container::ContainerProcess>> find_process(const sandbox::Sandbox& sandbox,
                                                                  const std::string& container_id,
                                                                  const std::string& exec_id) {
  if (!exec_id.empty()) KATA_CHECK(validate_id("exec id", exec_id));
  KATA_TRY(auto container, find(sandbox, container_id));
  return container->process(exec_id);
}

void describe(const container::StdioPorts& ports, pid_t pid, pb::CreatedProcess& out) {
  out.set_stdin_port(ports.in);
  out.set_stdout_port(ports.out);
  out.set_stderr_port(ports.err);
  out.set_pid(static_cast<uint32_t>(pid));
}

storage::RootDisks root_disks(const pb::RootDisks& request) {
  storage::RootDisks wanted;
  for (const pb::Disk& disk : request.disks()) {
    wanted.disks.push_back(
        {disk.serial(), disk.fs_type(), {disk.options().begin(), disk.options().end()}});
  }
  wanted.upper = request.upper();
  wanted.work = request.work();
  return wanted;
}

storage::VolumeMount mount_of(const pb::VolumeMount& mount) {
  storage::VolumeMount out;
  out.index = mount.index();
  out.fs_type = mount.fs_type();
  out.options.assign(mount.options().begin(), mount.options().end());
  if (mount.has_fs_group())
    out.fs_group =
        storage::FsGroup{mount.fs_group().id(), mount.fs_group().only_on_root_mismatch()};
  return out;
}

std::vector<storage::Volume> volumes_of(const pb::CreateContainerRequest& request) {
  std::vector<storage::Volume> volumes;
  for (const pb::Volume& volume : request.volumes()) {
    storage::Volume& out = volumes.emplace_back();
    out.serial = volume.serial();
    out.on_host = {volume.major(), volume.minor()};
    for (const pb::VolumeMount& mount : volume.mounts()) out.mounts.push_back(mount_of(mount));
  }
  return volumes;
}

std::vector<storage::HugepageVolume> hugepage_volumes_of(
    const pb::CreateContainerRequest& request) {
  std::vector<storage::HugepageVolume> volumes;
  for (const pb::HugepageVolume& volume : request.hugepage_volumes())
    volumes.push_back({.name = volume.name(),
                       .page_bytes = volume.page_bytes(),
                       .size_bytes = volume.size_bytes(),
                       .mode = volume.mode(),
                       .uid = volume.uid(),
                       .gid = volume.gid()});
  return volumes;
}

network::Interface interface_of(const pb::Interface& interface) {
  network::Interface out;
  out.name = interface.name();
  out.mac = interface.mac();
  out.mtu = interface.mtu();
  out.up = interface.up();
  out.no_arp = interface.no_arp();
  for (const pb::InterfaceAddress& address : interface.addresses())
    out.addresses.push_back(
        {address.local(), address.peer(), address.broadcast(), address.scope()});
  return out;
}

network::Network network_of(const pb::UpdateNetworkRequest& request) {
  network::Network out;
  for (const pb::Interface& interface : request.interfaces())
    out.interfaces.push_back(interface_of(interface));
  for (const pb::Route& route : request.routes())
    out.routes.push_back({.destination = route.destination(),
                          .gateway = route.gateway(),
                          .source = route.source(),
                          .interface = route.interface(),
                          .table = route.table(),
                          .metric = route.metric(),
                          .mtu = route.mtu(),
                          .scope = route.scope(),
                          .protocol = route.protocol(),
                          .on_link = route.on_link()});
  for (const pb::Neighbour& neighbour : request.neighbours())
    out.neighbours.push_back({neighbour.address(), neighbour.mac(), neighbour.interface()});
  return out;
}

}  // namespace

Result<pb::PrepareTemplateResponse> prepare_template(sandbox::Sandbox& sandbox,
                                                     const pb::PrepareTemplateRequest&) {
  KATA_CHECK(sandbox.prepare_template());
  return pb::PrepareTemplateResponse();
}

Result<pb::CreateSandboxResponse> create_sandbox(sandbox::Sandbox& sandbox,
                                                 const pb::CreateSandboxRequest& request) {
  sandbox::SandboxRequest wanted;
  wanted.id = request.sandbox_id();
  wanted.hostname = request.hostname();
  for (const pb::Share& share : request.shares()) {
    wanted.shares.push_back({share.tag(), share.mount_point(), share.read_only()});
  }
  wanted.host_time_unix_ns = request.host_time_unix_ns();
  wanted.entropy = request.entropy();
  wanted.shm_bytes = request.shm_bytes();
  KATA_TRY(auto info, sandbox.create(wanted));
  pb::CreateSandboxResponse response;
  response.set_agent_version(info.agent_version);
  response.set_kernel_release(info.kernel_release);
  response.set_setup_us(static_cast<uint64_t>(info.setup_time.count()));
  return response;
}

Result<pb::CreateContainerResponse> create_container(sandbox::Sandbox& sandbox,
                                                     const pb::CreateContainerRequest& request) {
  container::CreateRequest wanted;
  wanted.id = request.container_id();
  wanted.spec_json = request.oci_spec();
  wanted.rootfs = request.rootfs();
  if (request.has_root_disks()) wanted.root_disks = root_disks(request.root_disks());
  wanted.volumes = volumes_of(request);
  wanted.hugepage_volumes = hugepage_volumes_of(request);
  wanted.stdio = {request.stdin(), request.stdout(), request.stderr()};
  wanted.bundle = request.bundle();
  for (const auto& [path, file] : request.hook_programs()) wanted.hook_programs[path] = file;
  KATA_CHECK(sandbox.correct_clock(request.host_time_unix_ns()));
  auto container = sandbox.create_container(std::move(wanted));
  if (!container) {
    log::warning("create failed",
                 {{"container", request.container_id()}, {"error", container.error().message()}});
    return std::unexpected(container.error());
  }
  pb::CreateContainerResponse response;
  describe((*container)->ports(), (*container)->pid(), *response.mutable_process());
  return response;
}

Result<pb::CreateExecResponse> create_exec(sandbox::Sandbox& sandbox,
                                           const pb::CreateExecRequest& request) {
  KATA_TRY(auto container, find(sandbox, request.container_id()));
  container::ExecRequest wanted;
  wanted.id = request.exec_id();
  wanted.process_json = request.oci_process();
  wanted.stdio = {request.stdin(), request.stdout(), request.stderr()};
  KATA_TRY(auto process, container->create_exec(wanted));
  pb::CreateExecResponse response;
  describe(process->ports(), process->pid(), *response.mutable_process());
  return response;
}

Result<pb::DeleteExecResponse> delete_exec(sandbox::Sandbox& sandbox,
                                           const pb::DeleteExecRequest& request) {
  KATA_CHECK(validate_id("exec id", request.exec_id()));
  KATA_TRY(auto container, find(sandbox, request.container_id()));
  KATA_CHECK(container->remove_exec(request.exec_id()));
  return pb::DeleteExecResponse();
}

Result<pb::StartProcessResponse> start_process(sandbox::Sandbox& sandbox,
                                               const pb::StartProcessRequest& request) {
  KATA_TRY(auto container, find(sandbox, request.container_id()));
  KATA_CHECK(container->start(request.exec_id()));
  return pb::StartProcessResponse();
}

Result<pb::DeleteContainerResponse> delete_container(sandbox::Sandbox& sandbox,
                                                     const pb::DeleteContainerRequest& request) {
  KATA_CHECK(validate_id("container id", request.container_id()));
  KATA_CHECK(sandbox.remove_container(request.container_id()));
  return pb::DeleteContainerResponse();
}

Result<pb::SignalProcessResponse> signal_process(sandbox::Sandbox& sandbox,
                                                 const pb::SignalProcessRequest& request) {
  KATA_TRY(auto container, find(sandbox, request.container_id()));
  KATA_CHECK(container->signal(request.signal(), request.all(), request.exec_id()));
  return pb::SignalProcessResponse();
}

Result<pb::ListProcessesResponse> list_processes(sandbox::Sandbox& sandbox,
                                                 const pb::ListProcessesRequest& request) {
  KATA_TRY(auto container, find(sandbox, request.container_id()));
  KATA_TRY(std::vector<pid_t> pids, container->pids());
  pb::ListProcessesResponse response;
  for (pid_t pid : pids) response.add_pids(static_cast<uint32_t>(pid));
  return response;
}

Result<pb::PauseContainerResponse> pause_container(sandbox::Sandbox& sandbox,
                                                   const pb::PauseContainerRequest& request) {
  KATA_TRY(auto container, find(sandbox, request.container_id()));
  KATA_CHECK(container->pause());
  return pb::PauseContainerResponse();
}

Result<pb::ResumeContainerResponse> resume_container(sandbox::Sandbox& sandbox,
                                                     const pb::ResumeContainerRequest& request) {
  KATA_TRY(auto container, find(sandbox, request.container_id()));
  KATA_CHECK(container->resume());
  return pb::ResumeContainerResponse();
}

Result<pb::UpdateContainerResponse> update_container(sandbox::Sandbox& sandbox,
                                                     const pb::UpdateContainerRequest& request) {
  KATA_TRY(auto container, find(sandbox, request.container_id()));
  KATA_CHECK(container->update(request.oci_resources()));
  return pb::UpdateContainerResponse();
}

Result<pb::UpdateNetworkResponse> update_network(sandbox::Sandbox& sandbox,
                                                 const pb::UpdateNetworkRequest& request) {
  KATA_CHECK(sandbox.update_network(network_of(request)));
  return pb::UpdateNetworkResponse();
}

Result<pb::ResizeGuestResponse> resize_guest(sandbox::Sandbox& sandbox,
                                             const pb::ResizeGuestRequest& request) {
  // The host waits a little longer.
  constexpr std::chrono::seconds kProcessorLimit{10};
  if (request.hot_memory()) KATA_CHECK(sandbox::load_module_on_demand("virtio_mem"));
  KATA_CHECK(sandbox.use_processors(request.processors(), kProcessorLimit));
  return pb::ResizeGuestResponse();
}

Result<pb::AdjustClockResponse> adjust_clock(sandbox::Sandbox& sandbox,
                                             const pb::AdjustClockRequest& request) {
  KATA_CHECK(sandbox.adjust_clock(std::chrono::nanoseconds(request.gain_ns())));
  pb::AdjustClockResponse response;
  response.set_unix_ns(sandbox::wall_clock().count());
  return response;
}

Result<pb::GetMetricsResponse> get_metrics(sandbox::Sandbox& sandbox,
                                           const pb::GetMetricsRequest& request) {
  pb::GetMetricsResponse response;
  if (request.container_id().empty()) {
    KATA_TRY(isolation::Cgroup pod, sandbox.pod_cgroup());
    *response.mutable_metrics() = read_metrics([&](const char* name) { return pod.read(name); });
    return response;
  }
  KATA_TRY(auto container, find(sandbox, request.container_id()));
  *response.mutable_metrics() =
      read_metrics([&](const char* name) { return container->stat_file(name); });
  return response;
}

Result<pb::PingResponse> ping(sandbox::Sandbox&, const pb::PingRequest&) {
  return pb::PingResponse();
}

Result<pb::ResizeTerminalResponse> resize_terminal(sandbox::Sandbox& sandbox,
                                                   const pb::ResizeTerminalRequest& request) {
  KATA_TRY(auto process, find_process(sandbox, request.container_id(), request.exec_id()));
  KATA_CHECK(process->resize(request.columns(), request.rows()));
  return pb::ResizeTerminalResponse();
}

void wait_oom(sandbox::Sandbox& sandbox, const pb::WaitOomRequest& request,
              Finish<pb::WaitOomResponse> finish) {
  auto container = find(sandbox, request.container_id());
  if (!container) {
    finish(std::unexpected(container.error()));
    return;
  }
  (*container)->when_oom(request.seen(), [&request, finish](Result<uint64_t> kills) {
    if (!kills && kills.error().code() != Code::kNotFound) {
      finish(std::unexpected(kills.error()));
      return;
    }
    pb::WaitOomResponse response;
    response.set_oom_kills(kills.value_or(request.seen()));
    finish(std::move(response));
  });
}

void wait_process(sandbox::Sandbox& sandbox, const pb::WaitProcessRequest& request,
                  Finish<pb::WaitProcessResponse> finish) {
  auto process = find_process(sandbox, request.container_id(), request.exec_id());
  if (!process) {
    finish(std::unexpected(process.error()));
    return;
  }
  (*process)->when_ended([finish = std::move(finish)](const container::ProcessExit& exit) {
    pb::WaitProcessResponse response;
    response.set_exit_status(exit.status);
    response.set_exited_at_unix_ns(exit.at_unix_ns);
    response.set_oom_killed(exit.oom_killed);
    finish(std::move(response));
  });
}

}  // namespace kata::rpc
