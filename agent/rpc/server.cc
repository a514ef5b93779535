#include "agent/rpc/server.h"

#include <chrono>
#include <type_traits>
#include <utility>

#include <absl/synchronization/mutex.h>
#include <fcntl.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>

#include "agent/rpc/call.h"
#include "agent/rpc/handlers.h"
#include "agent/rpc/workers.h"
#include "common/oci/parse.h"

// Where gRPC reads its clocks; not in its headers, meant for its tests.
extern gpr_timespec (*gpr_now_impl)(gpr_clock_type clock_type);

namespace kata::rpc {
namespace {

// The largest request holds a spec and a path.
constexpr int kMaxRequestBytes = static_cast<int>(oci::kMaxSpecBytes) + 64 * 1024;

gpr_timespec (*system_now)(gpr_clock_type) = nullptr;

gpr_timespec shifted_now(gpr_clock_type clock_type) {
  constexpr int64_t kShiftSeconds = 1000;
  gpr_timespec now = system_now(clock_type);
  if (clock_type == GPR_CLOCK_MONOTONIC) now.tv_sec += kShiftSeconds;
  return now;
}

/// gRPC 1.51 takes the monotonic clock's seconds at its start for "not set" when they are 1, and
/// then sleeps until they are 2 (InitTime in src/core/lib/gprpp/time.cc): up to a second in a guest
/// that has just booted. All of gRPC reads its clocks through gpr_now_impl, so a shift that applies
/// everywhere is invisible.
void shift_grpc_clock() {
  if (system_now != nullptr) return;
  system_now = gpr_now_impl;
  gpr_now_impl = shifted_now;
}

class GrpcServer : public Server {
 public:
  explicit GrpcServer(sandbox::Sandbox& sandbox) : sandbox_(sandbox) {}

  Status start() {
    shift_grpc_clock();
    // Debian's Abseil is built with it: a graph of all locks, kept up at every one that is taken.
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
    // Pings that measure the bandwidth of a path: the calls are small, and each costs the guest.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    if (!server_) return fail(Code::kInternal, "the gRPC server does not start");
    serve_all();
    return {};
  }

  void add_connection(UniqueFd socket) override {
    grpc::AddInsecureChannelFromFd(server_.get(), socket.release());
  }

  void run() override {
    void* tag = nullptr;
    bool ok = false;
    while (queue_->Next(&tag, &ok)) static_cast<Tag*>(tag)->completed(ok);
  }

  void stop() override {
    server_->Shutdown(std::chrono::system_clock::now());
    queue_->Shutdown();
  }

 private:
  using Service = pb::Agent::AsyncService;

  template <typename Request, typename Response>
  void serve(typename Call<Request, Response>::Method method,
             typename Call<Request, Response>::Handler handler) {
    using Endpoint = typename Call<Request, Response>::Endpoint;
    Call<Request, Response>::serve(
        std::make_shared<const Endpoint>(Endpoint{service_, *queue_, method, std::move(handler)}));
  }

  /// `answer` returns at once: it runs on the completion queue's thread.
  template <typename Request, typename Response>
  void serve_quick(typename Call<Request, Response>::Method method,
                   Result<Response> (*answer)(sandbox::Sandbox&, const Request&)) {
    serve<Request, Response>(method, [this, answer](const Request& request, const auto& finish) {
      finish(answer(sandbox_, request));
    });
  }

  template <typename Request, typename Response>
  void serve_blocking(typename Call<Request, Response>::Method method,
                      Result<Response> (*answer)(sandbox::Sandbox&, const Request&)) {
    serve<Request, Response>(method, [this, answer](const Request& request, const auto& finish) {
      // The request lives until `finish` has been called.
      bool accepted =
          workers_.run([this, answer, &request, finish] { finish(answer(sandbox_, request)); });
      if (!accepted) finish(fail(Code::kResourceExhausted, "the guest has no thread to spare"));
    });
  }

  /// Every method of the service: a call to one that is never requested would wait for ever.
  void serve_all() {
    serve_blocking<pb::PrepareTemplateRequest>(&Service::RequestPrepareTemplate, prepare_template);
    serve_blocking<pb::CreateSandboxRequest>(&Service::RequestCreateSandbox, create_sandbox);
    serve_blocking<pb::CreateContainerRequest>(&Service::RequestCreateContainer, create_container);
    serve_blocking<pb::CreateExecRequest>(&Service::RequestCreateExec, create_exec);
    serve_blocking<pb::DeleteExecRequest>(&Service::RequestDeleteExec, delete_exec);
    serve_blocking<pb::StartProcessRequest>(&Service::RequestStartProcess, start_process);
    serve_blocking<pb::DeleteContainerRequest>(&Service::RequestDeleteContainer, delete_container);
    serve_quick<pb::SignalProcessRequest>(&Service::RequestSignalProcess, signal_process);
    serve_quick<pb::ListProcessesRequest>(&Service::RequestListProcesses, list_processes);
    serve_quick<pb::PingRequest>(&Service::RequestPing, ping);
    serve_quick<pb::AdjustClockRequest>(&Service::RequestAdjustClock, adjust_clock);
    serve_quick<pb::ResizeTerminalRequest>(&Service::RequestResizeTerminal, resize_terminal);
    serve_blocking<pb::PauseContainerRequest>(&Service::RequestPauseContainer, pause_container);
    serve_blocking<pb::ResumeContainerRequest>(&Service::RequestResumeContainer, resume_container);
    serve_blocking<pb::UpdateContainerRequest>(&Service::RequestUpdateContainer, update_container);
    serve_blocking<pb::UpdateNetworkRequest>(&Service::RequestUpdateNetwork, update_network);
    serve_blocking<pb::ResizeGuestRequest>(&Service::RequestResizeGuest, resize_guest);
    serve_blocking<pb::GetMetricsRequest>(&Service::RequestGetMetrics, get_metrics);
    serve<pb::WaitOomRequest, pb::WaitOomResponse>(
        &Service::RequestWaitOom, [this](const pb::WaitOomRequest& request, auto finish) {
          wait_oom(sandbox_, request, std::move(finish));
        });
    serve<pb::WaitProcessRequest, pb::WaitProcessResponse>(
        &Service::RequestWaitProcess, [this](const pb::WaitProcessRequest& request, auto finish) {
          wait_process(sandbox_, request, std::move(finish));
        });
  }

  sandbox::Sandbox& sandbox_;
  Service service_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  Workers workers_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::start(sandbox::Sandbox& sandbox) {
  auto server = std::make_unique<GrpcServer>(sandbox);
  KATA_CHECK(server->start());
  return server;
}

}  // namespace kata::rpc
