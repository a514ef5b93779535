#include "shim/service/sandbox_service.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "common/log/log.h"
#include "containerd/pod_sandbox_config.pb.h"
#include "shim/events/timestamp.h"

namespace kata::service {
namespace {

// What the CRI gives a pod to end; a request without a limit comes from other clients.
constexpr std::chrono::seconds kDefaultStopLimit{10};
/// Of a sandbox whose VM never ran; the value that containerd has for "unknown".
constexpr uint32_t kUnknownStatus = 255;

constexpr const char* kPodSandboxConfig = "runtime.v1.PodSandboxConfig";

#if defined(__x86_64__)
constexpr const char* kArchitecture = "amd64";
#elif defined(__aarch64__)
constexpr const char* kArchitecture = "arm64";
#else
#error "name this architecture as Go does"
#endif

/// What Kubernetes says of the pod; empty when the options are somebody else's.
Result<runtime::v1::PodSandboxConfig> pod_config_in(const google::protobuf::Any& options) {
  runtime::v1::PodSandboxConfig config;
  if (options.type_url() != kPodSandboxConfig) return config;
  if (!config.ParseFromString(options.value()))
    return fail(Code::kInvalidArgument, "the sandbox's options cannot be decoded");
  return config;
}

}  // namespace

SandboxService::SandboxService(asio::any_io_executor executor, std::string id, PodLifecycle& pod,
                               ShutdownHandler shut_down)
    : executor_(std::move(executor)),
      id_(std::move(id)),
      pod_(pod),
      shut_down_(std::move(shut_down)),
      exited_(executor_) {}

template <typename Request, typename Response>
void SandboxService::add_method(ttrpc::Server& server, const char* name,
                                Async<Response> (SandboxService::*method)(Request),
                                ttrpc::Duration duration) {
  auto handler = [this, method](std::string payload) -> Async<std::string> {
    Request request;
    if (!request.ParseFromString(payload))
      co_return fail(Code::kInvalidArgument, "the request cannot be decoded");
    KATA_CO_TRY(Response response, co_await (this->*method)(std::move(request)));
    co_return response.SerializeAsString();
  };
  server.add_method(kSandboxService, name, ttrpc::Handler(handler), duration);
}

void SandboxService::add_to(ttrpc::Server& server) {
  add_method(server, "CreateSandbox", &SandboxService::create);
  add_method(server, "StartSandbox", &SandboxService::start);
  add_method(server, "Platform", &SandboxService::platform);
  add_method(server, "StopSandbox", &SandboxService::stop);
  add_method(server, "WaitSandbox", &SandboxService::wait, ttrpc::Duration::kOpenEnded);
  add_method(server, "SandboxStatus", &SandboxService::status);
  add_method(server, "PingSandbox", &SandboxService::ping);
  add_method(server, "ShutdownSandbox", &SandboxService::shutdown);
  add_method(server, "SandboxMetrics", &SandboxService::metrics);
}

Status SandboxService::check_id(const std::string& id) const {
  if (id != id_ || phase_ == Phase::kShutDown)
    return fail(Code::kNotFound, "sandbox \"{}\" not found", id);
  return {};
}

Status SandboxService::check_created(const std::string& id) const {
  KATA_CHECK(check_id(id));
  if (phase_ == Phase::kNone || phase_ == Phase::kCreating)
    return fail(Code::kNotFound, "sandbox \"{}\" not found: it has not been created", id);
  return {};
}

Status SandboxService::check_ready(const std::string& id) const {
  KATA_CHECK(check_created(id));
  if (phase_ != Phase::kReady)
    return fail(Code::kFailedPrecondition, "sandbox \"{}\" is not running", id);
  return {};
}

Async<sandbox_api::CreateSandboxResponse> SandboxService::create(
    sandbox_api::CreateSandboxRequest request) {
  if (request.sandbox_id() != id_)
    co_return fail(Code::kInvalidArgument, "this shim was started for sandbox \"{}\", not \"{}\"",
                   id_, request.sandbox_id());
  if (phase_ != Phase::kNone)
    co_return fail(Code::kAlreadyExists, "sandbox \"{}\" exists already", id_);
  if (!request.bundle_path().starts_with('/'))
    co_return fail(Code::kInvalidArgument, "bundle \"{}\" is not an absolute path",
                   request.bundle_path());
  KATA_CO_TRY(const runtime::v1::PodSandboxConfig config, pod_config_in(request.options()));
  phase_ = Phase::kCreating;
  PodRequest pod{.id = id_,
                 .bundle = request.bundle_path(),
                 .network_namespace = request.netns_path(),
                 .hostname = config.hostname(),
                 .annotations = {request.annotations().begin(), request.annotations().end()}};
  // containerd's CRI plugin has them there alone.
  pod.annotations.insert(config.annotations().begin(), config.annotations().end());
  Status prepared = co_await pod_.prepare(std::move(pod));
  if (phase_ != Phase::kCreating)
    co_return fail(Code::kAborted, "sandbox \"{}\" was shut down meanwhile", id_);
  phase_ = prepared ? Phase::kCreated : Phase::kNone;
  KATA_CO_CHECK(prepared);
  created_at_ = std::chrono::system_clock::now();
  co_return sandbox_api::CreateSandboxResponse();
}

Async<sandbox_api::StartSandboxResponse> SandboxService::start(
    sandbox_api::StartSandboxRequest request) {
  KATA_CO_CHECK(check_created(request.sandbox_id()));
  if (phase_ != Phase::kCreated)
    co_return fail(Code::kFailedPrecondition, "sandbox \"{}\" has been started before", id_);
  phase_ = Phase::kStarting;
  Result<uint32_t> pid = co_await pod_.boot();
  if (!pid) {
    end({.status = kUnknownStatus, .at = std::chrono::system_clock::now()});
    co_return std::unexpected(std::move(pid).error());
  }
  pid_ = *pid;
  asio::co_spawn(executor_, watch_end(), asio::detached);
  if (phase_ != Phase::kStarting)
    co_return fail(Code::kAborted, "sandbox \"{}\" was stopped meanwhile", id_);
  phase_ = Phase::kReady;
  sandbox_api::StartSandboxResponse response;
  response.set_pid(pid_);
  events::set_timestamp(*response.mutable_created_at(), created_at_);
  co_return response;
}

asio::awaitable<void> SandboxService::watch_end() {
  auto exit = co_await pod_.wait();
  if (!exit) log::error("cannot tell how the sandbox ended", {{"error", exit.error().message()}});
  sandbox::ProcessExit unknown{.status = kUnknownStatus, .at = std::chrono::system_clock::now()};
  end(exit ? *exit : unknown);
}

void SandboxService::end(const sandbox::ProcessExit& exit) {
  if (phase_ != Phase::kShutDown) phase_ = Phase::kEnded;
  exited_.set(exit);
}

Async<sandbox_api::PlatformResponse> SandboxService::platform(
    sandbox_api::PlatformRequest request) {
  KATA_CO_CHECK(check_id(request.sandbox_id()));
  sandbox_api::PlatformResponse response;
  response.mutable_platform()->set_os("linux");
  response.mutable_platform()->set_architecture(kArchitecture);
  co_return response;
}

Async<sandbox_api::StopSandboxResponse> SandboxService::stop(
    sandbox_api::StopSandboxRequest request) {
  KATA_CO_CHECK(check_created(request.sandbox_id()));
  if (exited_.is_set()) co_return sandbox_api::StopSandboxResponse();
  std::chrono::seconds limit = kDefaultStopLimit;
  if (request.timeout_secs() > 0) limit = std::chrono::seconds(request.timeout_secs());
  bool never_ran = phase_ == Phase::kCreated;
  phase_ = Phase::kEnded;
  KATA_CO_CHECK(co_await pod_.stop(limit));
  if (never_ran) end({.status = 0, .at = std::chrono::system_clock::now()});
  co_await exited_.wait();
  co_return sandbox_api::StopSandboxResponse();
}

Async<sandbox_api::WaitSandboxResponse> SandboxService::wait(
    sandbox_api::WaitSandboxRequest request) {
  KATA_CO_CHECK(check_created(request.sandbox_id()));
  sandbox::ProcessExit exit = co_await exited_.wait();
  sandbox_api::WaitSandboxResponse response;
  response.set_exit_status(exit.status);
  events::set_timestamp(*response.mutable_exited_at(), exit.at);
  co_return response;
}

Async<sandbox_api::SandboxStatusResponse> SandboxService::status(
    sandbox_api::SandboxStatusRequest request) {
  KATA_CO_CHECK(check_created(request.sandbox_id()));
  bool ready = phase_ == Phase::kReady;
  sandbox_api::SandboxStatusResponse response;
  response.set_sandbox_id(id_);
  response.set_pid(pid_);
  // The CRI's names: its plugin hands them on, and knows a pod by them after its own restart.
  response.set_state(ready ? "SANDBOX_READY" : "SANDBOX_NOTREADY");
  events::set_timestamp(*response.mutable_created_at(), created_at_);
  if (exited_.is_set()) events::set_timestamp(*response.mutable_exited_at(), exited_.value().at);
  if (request.verbose()) {
    // The CRI plugin reads it as its SandboxInfo.
    nlohmann::json info{{"pid", pid_}, {"processStatus", ready ? "running" : "stopped"}};
    (*response.mutable_info())["info"] = info.dump();
  }
  co_return response;
}

Async<sandbox_api::PingResponse> SandboxService::ping(sandbox_api::PingRequest request) {
  KATA_CO_CHECK(check_ready(request.sandbox_id()));
  KATA_CO_CHECK(co_await pod_.ping());
  co_return sandbox_api::PingResponse();
}

Async<sandbox_api::ShutdownSandboxResponse> SandboxService::shutdown(
    sandbox_api::ShutdownSandboxRequest request) {
  if (request.sandbox_id() != id_)
    co_return fail(Code::kNotFound, "sandbox \"{}\" not found", request.sandbox_id());
  bool never_ran = phase_ < Phase::kStarting;
  phase_ = Phase::kShutDown;
  co_await shut_down_();  // ends the VM, too
  if (never_ran) end({.status = 0, .at = std::chrono::system_clock::now()});
  co_return sandbox_api::ShutdownSandboxResponse();
}

Async<sandbox_api::SandboxMetricsResponse> SandboxService::metrics(
    sandbox_api::SandboxMetricsRequest request) {
  KATA_CO_CHECK(check_ready(request.sandbox_id()));
  KATA_CO_TRY(PodMetrics measured, co_await pod_.metrics());
  sandbox_api::SandboxMetricsResponse response;
  auto& metric = *response.mutable_metrics();
  events::set_timestamp(*metric.mutable_timestamp(), std::chrono::system_clock::now());
  metric.set_id(id_);
  metric.mutable_data()->set_type_url(std::move(measured.type_url));
  metric.mutable_data()->set_value(std::move(measured.value));
  co_return response;
}

}  // namespace kata::service
