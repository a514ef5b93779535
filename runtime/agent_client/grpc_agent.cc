#include "runtime/agent_client/grpc_agent.h"

#include <algorithm>
#include <utility>

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <sys/random.h>

#include "agent.grpc.pb.h"

namespace kata::agent_client {
namespace {

namespace pb = kata::agent::v1;

/// The guest's word, so bounded: no boot takes an hour.
constexpr uint64_t kMaxSetupUs = 3'600'000'000;

/// A guest under TCG on a busy host answers within a second.
constexpr std::chrono::seconds kPingLimit{10};
/// The agent waits for nothing when it signals: a guest that takes this long hangs.
constexpr std::chrono::seconds kSignalLimit{30};

/// It writes all of the guest's free memory once.
constexpr std::chrono::seconds kPrepareLimit{60};
/// A guest that has said it is ready and then is silent must not hold the start for ever.
constexpr std::chrono::seconds kSandboxLimit{120};
/// Cards come within a minute, or not at all.
constexpr std::chrono::seconds kNetworkLimit{90};
/// A little more than the agent waits for a processor.
constexpr std::chrono::seconds kResizeLimit{30};
/// As many as the kernel's generator has for a key.
constexpr size_t kEntropyBytes = 32;
/// The year 2116: any difference to it is a number of nanoseconds, too.
constexpr int64_t kMaxUnixNs = INT64_MAX / 2;

Result<std::string> random_bytes() {
  std::string bytes(kEntropyBytes, '\0');
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return fail_errno("getrandom");
  return bytes;
}

int64_t unix_now_ns() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

Error error_from(const grpc::Status& status) {
  return Error(code_from_wire(static_cast<int>(status.error_code())),
               std::string(status.error_message()));
}

void describe(const storage::VolumeMount& mount, pb::VolumeMount& out) {
  out.set_index(mount.index);
  out.set_fs_type(mount.fs_type);
  for (const std::string& option : mount.options) out.add_options(option);
  if (!mount.fs_group) return;
  out.mutable_fs_group()->set_id(mount.fs_group->id);
  out.mutable_fs_group()->set_only_on_root_mismatch(mount.fs_group->only_on_root_mismatch);
}

void describe(const storage::HugepageVolume& volume, pb::HugepageVolume& out) {
  out.set_name(volume.name);
  out.set_page_bytes(volume.page_bytes);
  out.set_size_bytes(volume.size_bytes);
  out.set_mode(volume.mode);
  out.set_uid(volume.uid);
  out.set_gid(volume.gid);
}

void describe(const network::Interface& interface, pb::Interface& out) {
  out.set_name(interface.name);
  out.set_mac(interface.mac);
  out.set_mtu(interface.mtu);
  out.set_up(interface.up);
  out.set_no_arp(interface.no_arp);
  for (const network::InterfaceAddress& address : interface.addresses) {
    auto* added = out.add_addresses();
    added->set_local(address.local);
    added->set_peer(address.peer);
    added->set_broadcast(address.broadcast);
    added->set_scope(address.scope);
  }
}

void describe(const network::Route& route, pb::Route& out) {
  out.set_destination(route.destination);
  out.set_gateway(route.gateway);
  out.set_source(route.source);
  out.set_interface(route.interface);
  out.set_table(route.table);
  out.set_metric(route.metric);
  out.set_mtu(route.mtu);
  out.set_scope(route.scope);
  out.set_protocol(route.protocol);
  out.set_on_link(route.on_link);
}

void describe(const network::Network& network, pb::UpdateNetworkRequest& out) {
  for (const network::Interface& interface : network.interfaces)
    describe(interface, *out.add_interfaces());
  for (const network::Route& route : network.routes) describe(route, *out.add_routes());
  for (const network::Neighbour& neighbour : network.neighbours) {
    auto* added = out.add_neighbours();
    added->set_address(neighbour.address);
    added->set_mac(neighbour.mac);
    added->set_interface(neighbour.interface);
  }
}

/// One call in flight: lives until gRPC has called back, whoever still waits for it.
template <typename Request, typename Response>
struct Call {
  grpc::ClientContext context;
  Request request;
  Response response;
};

CreatedProcess created_process(const pb::CreatedProcess& process) {
  CreatedProcess created;
  created.guest_pid = process.pid();
  created.ports.in = process.stdin_port();
  created.ports.out = process.stdout_port();
  created.ports.err = process.stderr_port();
  return created;
}

class GrpcAgent : public Agent {
 public:
  GrpcAgent(asio::any_io_executor executor, std::unique_ptr<pb::Agent::Stub> stub)
      : executor_(std::move(executor)), stub_(std::move(stub)) {}

  Async<void> prepare_template() override {
    auto call = std::make_shared<Call<pb::PrepareTemplateRequest, pb::PrepareTemplateResponse>>();
    call->context.set_deadline(std::chrono::system_clock::now() + kPrepareLimit);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::PrepareTemplate);
  }

  Async<SandboxInfo> create_sandbox(const SandboxSettings& settings) override {
    auto call = std::make_shared<Call<pb::CreateSandboxRequest, pb::CreateSandboxResponse>>();
    call->request.set_sandbox_id(settings.id);
    call->request.set_hostname(settings.hostname);
    call->request.set_shm_bytes(settings.shm_bytes);
    for (const Share& share : settings.shares) {
      auto* added = call->request.add_shares();
      added->set_tag(share.tag);
      added->set_mount_point(share.mount_point);
    }
    call->request.set_host_time_unix_ns(unix_now_ns());
    KATA_CO_TRY(*call->request.mutable_entropy(), random_bytes());
    call->context.set_deadline(std::chrono::system_clock::now() + kSandboxLimit);
    KATA_CO_CHECK(co_await finish(call, &pb::Agent::StubInterface::async_interface::CreateSandbox));
    SandboxInfo info;
    info.agent_version = call->response.agent_version();
    info.kernel_release = call->response.kernel_release();
    info.agent_setup_time =
        std::chrono::microseconds(std::min<uint64_t>(call->response.setup_us(), kMaxSetupUs));
    co_return info;
  }

  Async<CreatedProcess> create_container(const std::string& id, const ContainerSpec& spec,
                                         const ContainerRoot& root, StdioWanted wanted) override {
    auto call = std::make_shared<Call<pb::CreateContainerRequest, pb::CreateContainerResponse>>();
    call->request.set_container_id(id);
    call->request.set_oci_spec(spec.oci_json);
    call->request.set_bundle(spec.bundle);
    for (const auto& [path, file] : spec.hook_programs)
      (*call->request.mutable_hook_programs())[path] = file;
    for (const Volume& volume : spec.volumes) {
      auto* added = call->request.add_volumes();
      added->set_serial(volume.serial);
      added->set_major(volume.major);
      added->set_minor(volume.minor);
      for (const storage::VolumeMount& mount : volume.mounts) describe(mount, *added->add_mounts());
    }
    for (const storage::HugepageVolume& volume : spec.hugepage_volumes)
      describe(volume, *call->request.add_hugepage_volumes());
    call->request.set_rootfs(root.directory);
    for (const Disk& disk : root.disks) {
      auto* added = call->request.mutable_root_disks()->add_disks();
      added->set_serial(disk.serial);
      added->set_fs_type(disk.fs_type);
      for (const std::string& option : disk.options) added->add_options(option);
    }
    if (!root.upper.empty()) {
      call->request.mutable_root_disks()->set_upper(root.upper);
      call->request.mutable_root_disks()->set_work(root.work);
    }
    call->request.set_stdin(wanted.in);
    call->request.set_stdout(wanted.out);
    call->request.set_stderr(wanted.err);
    call->request.set_host_time_unix_ns(unix_now_ns());
    KATA_CO_CHECK(
        co_await finish(call, &pb::Agent::StubInterface::async_interface::CreateContainer));
    co_return created_process(call->response.process());
  }

  Async<CreatedProcess> create_exec(const std::string& id, const std::string& exec_id,
                                    const std::string& oci_process_json,
                                    StdioWanted wanted) override {
    auto call = std::make_shared<Call<pb::CreateExecRequest, pb::CreateExecResponse>>();
    call->request.set_container_id(id);
    call->request.set_exec_id(exec_id);
    call->request.set_oci_process(oci_process_json);
    call->request.set_stdin(wanted.in);
    call->request.set_stdout(wanted.out);
    call->request.set_stderr(wanted.err);
    KATA_CO_CHECK(co_await finish(call, &pb::Agent::StubInterface::async_interface::CreateExec));
    co_return created_process(call->response.process());
  }

  Async<void> start_process(const std::string& id, const std::string& exec_id) override {
    auto call = std::make_shared<Call<pb::StartProcessRequest, pb::StartProcessResponse>>();
    call->request.set_container_id(id);
    call->request.set_exec_id(exec_id);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::StartProcess);
  }

  Async<void> signal(const std::string& id, const std::string& exec_id, uint32_t signal,
                     bool all) override {
    auto call = std::make_shared<Call<pb::SignalProcessRequest, pb::SignalProcessResponse>>();
    call->request.set_container_id(id);
    call->request.set_exec_id(exec_id);
    call->request.set_signal(signal);
    call->request.set_all(all);
    call->context.set_deadline(std::chrono::system_clock::now() + kSignalLimit);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::SignalProcess);
  }

  Async<ProcessExit> wait(const std::string& id, const std::string& exec_id) override {
    auto call = std::make_shared<Call<pb::WaitProcessRequest, pb::WaitProcessResponse>>();
    call->request.set_container_id(id);
    call->request.set_exec_id(exec_id);
    KATA_CO_CHECK(co_await finish(call, &pb::Agent::StubInterface::async_interface::WaitProcess));
    std::chrono::nanoseconds since_epoch(call->response.exited_at_unix_ns());
    ProcessExit exit;
    exit.status = call->response.exit_status();
    exit.at = std::chrono::system_clock::time_point(since_epoch);
    co_return exit;
  }

  Async<std::vector<uint32_t>> list_processes(const std::string& id) override {
    auto call = std::make_shared<Call<pb::ListProcessesRequest, pb::ListProcessesResponse>>();
    call->request.set_container_id(id);
    KATA_CO_CHECK(co_await finish(call, &pb::Agent::StubInterface::async_interface::ListProcesses));
    std::vector<uint32_t> pids(call->response.pids().begin(), call->response.pids().end());
    co_return pids;
  }

  Async<void> delete_exec(const std::string& id, const std::string& exec_id) override {
    auto call = std::make_shared<Call<pb::DeleteExecRequest, pb::DeleteExecResponse>>();
    call->request.set_container_id(id);
    call->request.set_exec_id(exec_id);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::DeleteExec);
  }

  Async<void> resize_terminal(const std::string& id, const std::string& exec_id,
                              TerminalSize size) override {
    auto call = std::make_shared<Call<pb::ResizeTerminalRequest, pb::ResizeTerminalResponse>>();
    call->request.set_container_id(id);
    call->request.set_exec_id(exec_id);
    call->request.set_columns(size.columns);
    call->request.set_rows(size.rows);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::ResizeTerminal);
  }

  Async<void> pause_container(const std::string& id) override {
    auto call = std::make_shared<Call<pb::PauseContainerRequest, pb::PauseContainerResponse>>();
    call->request.set_container_id(id);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::PauseContainer);
  }

  Async<void> resume_container(const std::string& id) override {
    auto call = std::make_shared<Call<pb::ResumeContainerRequest, pb::ResumeContainerResponse>>();
    call->request.set_container_id(id);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::ResumeContainer);
  }

  Async<void> update_network(const network::Network& network) override {
    auto call = std::make_shared<Call<pb::UpdateNetworkRequest, pb::UpdateNetworkResponse>>();
    call->context.set_deadline(std::chrono::system_clock::now() + kNetworkLimit);
    describe(network, call->request);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::UpdateNetwork);
  }

  Async<void> resize_guest(uint32_t processors, bool hot_memory) override {
    auto call = std::make_shared<Call<pb::ResizeGuestRequest, pb::ResizeGuestResponse>>();
    call->context.set_deadline(std::chrono::system_clock::now() + kResizeLimit);
    call->request.set_processors(processors);
    call->request.set_hot_memory(hot_memory);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::ResizeGuest);
  }

  Async<std::chrono::nanoseconds> adjust_clock(std::chrono::nanoseconds gain) override {
    auto call = std::make_shared<Call<pb::AdjustClockRequest, pb::AdjustClockResponse>>();
    call->context.set_deadline(std::chrono::system_clock::now() + kPingLimit);
    call->request.set_gain_ns(gain.count());
    KATA_CO_CHECK(co_await finish(call, &pb::Agent::StubInterface::async_interface::AdjustClock));
    const int64_t now = call->response.unix_ns();
    if (now < 0 || now > kMaxUnixNs)
      co_return fail(Code::kOutOfRange, "the guest's clock says {} ns", now);
    co_return std::chrono::nanoseconds(now);
  }

  Async<void> update_container(const std::string& id,
                               const std::string& oci_resources_json) override {
    auto call = std::make_shared<Call<pb::UpdateContainerRequest, pb::UpdateContainerResponse>>();
    call->request.set_container_id(id);
    call->request.set_oci_resources(oci_resources_json);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::UpdateContainer);
  }

  Async<std::string> metrics(const std::string& id) override {
    auto call = std::make_shared<Call<pb::GetMetricsRequest, pb::GetMetricsResponse>>();
    call->request.set_container_id(id);
    KATA_CO_CHECK(co_await finish(call, &pb::Agent::StubInterface::async_interface::GetMetrics));
    // Encoded anew: whatever the guest has sent, containerd gets a well-formed message.
    co_return call->response.metrics().SerializeAsString();
  }

  Async<void> ping() override {
    auto call = std::make_shared<Call<pb::PingRequest, pb::PingResponse>>();
    call->context.set_deadline(std::chrono::system_clock::now() + kPingLimit);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::Ping);
  }

  Async<uint64_t> wait_oom(const std::string& id, uint64_t seen) override {
    auto call = std::make_shared<Call<pb::WaitOomRequest, pb::WaitOomResponse>>();
    call->request.set_container_id(id);
    call->request.set_seen(seen);
    KATA_CO_CHECK(co_await finish(call, &pb::Agent::StubInterface::async_interface::WaitOom));
    const uint64_t kills = call->response.oom_kills();
    if (kills == seen) co_return fail(Code::kNotFound, "container \"{}\" has been deleted", id);
    co_return kills;
  }

  Async<void> delete_container(const std::string& id) override {
    auto call = std::make_shared<Call<pb::DeleteContainerRequest, pb::DeleteContainerResponse>>();
    call->request.set_container_id(id);
    co_return co_await finish(call, &pb::Agent::StubInterface::async_interface::DeleteContainer);
  }

 private:
  template <typename Request, typename Response>
  using Method = void (pb::Agent::StubInterface::async_interface::*)(
      grpc::ClientContext*, const Request*, Response*, std::function<void(grpc::Status)>);

  /// Sends the call and waits, on executor_, for its answer.
  template <typename Request, typename Response>
  Async<void> finish(std::shared_ptr<Call<Request, Response>> call,
                     Method<Request, Response> method) {
    auto initiate = [this, call, method](auto handler) {
      // The executor must not run dry while only gRPC's own threads know about the call.
      auto work = asio::prefer(executor_, asio::execution::outstanding_work.tracked);
      auto shared = std::make_shared<decltype(handler)>(std::move(handler));
      // The call goes back to the executor too: with its context dies what may be the channel's
      // last reference, and gRPC's own thread, which runs this, cannot take the channel down.
      (stub_->async()->*method)(&call->context, &call->request, &call->response,
                                [work, shared, call](grpc::Status status) mutable {
                                  asio::post(work,
                                             [shared = std::move(shared), call = std::move(call),
                                              status = std::move(status)]() mutable {
                                               std::move (*shared)(std::move(status));
                                             });
                                });
    };
    grpc::Status status =
        co_await asio::async_initiate<const asio::use_awaitable_t<>, void(grpc::Status)>(
            initiate, asio::use_awaitable);
    if (!status.ok()) co_return std::unexpected(error_from(status));
    co_return Status{};
  }

  asio::any_io_executor executor_;
  std::unique_ptr<pb::Agent::Stub> stub_;
};

}  // namespace

std::unique_ptr<Agent> connect(asio::any_io_executor executor, UniqueFd socket) {
  auto channel = grpc::CreateInsecureChannelFromFd("kata-agent", socket.release());
  return std::make_unique<GrpcAgent>(std::move(executor), pb::Agent::NewStub(channel));
}

}  // namespace kata::agent_client
