// containerd's sandbox API (containerd.runtime.sandbox.v1.Sandbox): a pod that exists before, after
// and without its containers, without a pause container.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/sys/async.h"
#include "common/sys/promise.h"
#include "containerd/sandbox.pb.h"
#include "runtime/sandbox/sandbox.h"
#include "shim/ttrpc/server.h"

namespace kata::service {

namespace sandbox_api = containerd::runtime::sandbox::v1;

inline constexpr const char* kSandboxService = "containerd.runtime.sandbox.v1.Sandbox";

/// What CreateSandbox says.
struct PodRequest {
  std::string id;
  /// May be without a config.json.
  std::filesystem::path bundle;
  /// Empty: the host's.
  std::string network_namespace;
  /// Of Kubernetes' pods. Empty: the bundle's, else the host's.
  std::string hostname;
  std::map<std::string, std::string> annotations;
};

/// Measured values as containerd's clients know them, e.g. io.containerd.cgroups.v2.Metrics.
struct PodMetrics {
  std::string type_url;
  std::string value;
};

/// The pod's VM as this service needs it. The service calls prepare() at most once, boot() at most
/// once after it, and the others only after boot() has answered, except for stop(), which also ends
/// a boot that is under way: boot() then answers an error. Used on the sandbox's executor.
class PodLifecycle {
 public:
  virtual ~PodLifecycle() = default;

  /// Notes what boot() needs and checks it; starts nothing that stop() would not end.
  virtual Async<void> prepare(PodRequest request) = 0;
  /// Boots the VM without a container; answers the host pid when the agent does.
  virtual Async<uint32_t> boot() = 0;
  /// Completes when the VM has ended, whoever ended it. Also legal after the end.
  virtual Async<sandbox::ProcessExit> wait() = 0;
  /// Ends what runs in the VM and the VM itself: asks first, and kills after `limit`. Safe to
  /// repeat; wait() has completed, or will.
  virtual Async<void> stop(std::chrono::seconds limit) = 0;
  /// Whether the agent answers.
  virtual Async<void> ping() = 0;
  virtual Async<PodMetrics> metrics() = 0;
};

/// The service of the one sandbox that this shim was started for; every other id is NotFound.
///
/// Created by CreateSandbox, ready from StartSandbox until the VM ends, then not ready until
/// ShutdownSandbox ends the shim. A call at the wrong time answers FailedPrecondition, a second
/// CreateSandbox AlreadyExists. StopSandbox and ShutdownSandbox can be repeated and come at any
/// time; ShutdownSandbox also before CreateSandbox, whose failure containerd answers with it.
///
/// Used on the sandbox's executor. `pod` is borrowed and outlives every call of the server that
/// this was added to, and so does this.
class SandboxService {
 public:
  /// Ends the VM, if it runs, and everything else. See TaskService.
  using ShutdownHandler = std::function<asio::awaitable<void>()>;

  SandboxService(asio::any_io_executor executor, std::string id, PodLifecycle& pod,
                 ShutdownHandler shut_down);

  void add_to(ttrpc::Server& server);

  /// From CreateSandbox to ShutdownSandbox: the pod must not end because its last container has,
  /// or because nobody is connected.
  bool holds_pod() const { return phase_ != Phase::kNone && phase_ != Phase::kShutDown; }

 private:
  enum class Phase { kNone, kCreating, kCreated, kStarting, kReady, kEnded, kShutDown };

  Async<sandbox_api::CreateSandboxResponse> create(sandbox_api::CreateSandboxRequest request);
  Async<sandbox_api::StartSandboxResponse> start(sandbox_api::StartSandboxRequest request);
  Async<sandbox_api::PlatformResponse> platform(sandbox_api::PlatformRequest request);
  Async<sandbox_api::StopSandboxResponse> stop(sandbox_api::StopSandboxRequest request);
  Async<sandbox_api::WaitSandboxResponse> wait(sandbox_api::WaitSandboxRequest request);
  Async<sandbox_api::SandboxStatusResponse> status(sandbox_api::SandboxStatusRequest request);
  Async<sandbox_api::PingResponse> ping(sandbox_api::PingRequest request);
  Async<sandbox_api::ShutdownSandboxResponse> shutdown(sandbox_api::ShutdownSandboxRequest request);
  Async<sandbox_api::SandboxMetricsResponse> metrics(sandbox_api::SandboxMetricsRequest request);

  template <typename Request, typename Response>
  void add_method(ttrpc::Server& server, const char* name,
                  Async<Response> (SandboxService::*method)(Request),
                  ttrpc::Duration duration = ttrpc::Duration::kBounded);
  Status check_id(const std::string& id) const;
  Status check_created(const std::string& id) const;
  Status check_ready(const std::string& id) const;
  asio::awaitable<void> watch_end();
  void end(const sandbox::ProcessExit& exit);

  asio::any_io_executor executor_;
  std::string id_;
  PodLifecycle& pod_;
  ShutdownHandler shut_down_;
  Phase phase_ = Phase::kNone;
  uint32_t pid_ = 0;
  std::chrono::system_clock::time_point created_at_;
  sys::Promise<sandbox::ProcessExit> exited_;
};

}  // namespace kata::service
