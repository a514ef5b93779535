#include "shim/service/sandbox_service.h"

#include <catch2/catch.hpp>

#include "containerd/pod_sandbox_config.pb.h"
#include "shim/ttrpc/client.h"
#include "shim/ttrpc/test_support.h"
#include "tests/fakes/fake_pod_lifecycle.h"

namespace kata::service {
namespace {

using testing::run;
using testing::run_until;

struct SandboxFixture {
  SandboxFixture() {
    service.add_to(server);
    REQUIRE(server.serve(sys::listen_unix(path).value()));
    client = run(context, ttrpc::Client::connect(context.get_executor(), path)).value();
  }
  template <typename Request>
  static Request of(const std::string& id = "s1") {
    Request request;
    request.set_sandbox_id(id);
    return request;
  }
  template <typename Response, typename Request>
  Result<Response> call(const char* method, const Request& request) {
    KATA_TRY(std::string payload,
             run(context, client->call(kSandboxService, method, request.SerializeAsString())));
    Response response;
    CHECK(response.ParseFromString(payload));
    return response;
  }
  template <typename Request>
  std::shared_ptr<std::optional<Result<std::string>>> begin(const char* method,
                                                            const Request& request) {
    auto outcome = std::make_shared<std::optional<Result<std::string>>>();
    asio::co_spawn(
        context, client->call(kSandboxService, method, request.SerializeAsString()),
        [outcome](std::exception_ptr, Result<std::string> result) { *outcome = result; });
    return outcome;
  }
  auto create() {
    auto request = of<sandbox_api::CreateSandboxRequest>();
    request.set_bundle_path("/bundles/s1");
    request.set_netns_path("/run/netns/n1");
    (*request.mutable_annotations())["a"] = "b";
    return call<sandbox_api::CreateSandboxResponse>("CreateSandbox", request);
  }
  auto start() {
    return call<sandbox_api::StartSandboxResponse>("StartSandbox",
                                                   of<sandbox_api::StartSandboxRequest>());
  }
  auto stop() {
    return call<sandbox_api::StopSandboxResponse>("StopSandbox",
                                                  of<sandbox_api::StopSandboxRequest>());
  }
  auto ping() {
    return call<sandbox_api::PingResponse>("PingSandbox", of<sandbox_api::PingRequest>());
  }
  auto shutdown() {
    return call<sandbox_api::ShutdownSandboxResponse>("ShutdownSandbox",
                                                      of<sandbox_api::ShutdownSandboxRequest>());
  }
  auto status() {
    auto request = of<sandbox_api::SandboxStatusRequest>();
    request.set_verbose(true);
    return call<sandbox_api::SandboxStatusResponse>("SandboxStatus", request);
  }
  auto begin_wait() { return begin("WaitSandbox", of<sandbox_api::WaitSandboxRequest>()); }
  uint32_t exit_status(std::optional<Result<std::string>>& waiting) {
    run_until(context, [&] { return waiting.has_value(); });
    sandbox_api::WaitSandboxResponse response;
    REQUIRE(response.ParseFromString(waiting->value()));
    CHECK(response.exited_at().seconds() > 0);
    return response.exit_status();
  }

  testing::TemporaryDirectory directory;
  std::filesystem::path path = directory / "sock";
  asio::io_context context{1};
  fakes::FakePodLifecycle pod{context.get_executor()};
  int shutdowns = 0;
  SandboxService service{context.get_executor(), "s1", pod, [this]() -> asio::awaitable<void> {
                           ++shutdowns;
                           pod.end(137);
                           co_return;
                         }};
  ttrpc::Server server{context.get_executor()};
  std::unique_ptr<ttrpc::Client> client;
};

TEST_CASE_METHOD(SandboxFixture, "a sandbox's life") {
  CHECK_FALSE(service.holds_pod());
  REQUIRE(create());
  CHECK(service.holds_pod());
  REQUIRE(pod.prepared.size() == 1);
  CHECK(pod.prepared[0].id == "s1");
  CHECK(pod.prepared[0].bundle == "/bundles/s1");
  CHECK(pod.prepared[0].network_namespace == "/run/netns/n1");
  CHECK(pod.prepared[0].annotations.at("a") == "b");
  CHECK(status()->state() == "SANDBOX_NOTREADY");
  CHECK(pod.boots == 0);

  auto started = start();
  REQUIRE(started);
  CHECK(started->pid() == fakes::FakePodLifecycle::kPid);
  CHECK(started->created_at().seconds() > 0);
  auto ready = status();
  REQUIRE(ready);
  CHECK(ready->sandbox_id() == "s1");
  CHECK(ready->state() == "SANDBOX_READY");
  CHECK(ready->pid() == fakes::FakePodLifecycle::kPid);
  CHECK(ready->created_at().seconds() == started->created_at().seconds());
  CHECK_FALSE(ready->has_exited_at());
  CHECK(ready->info().at("info").find("4711") != std::string::npos);
  CHECK(ping());

  auto waiting = begin_wait();
  REQUIRE(stop());
  CHECK(exit_status(*waiting) == 137);
  auto ended = status();
  REQUIRE(ended);
  CHECK(ended->state() == "SANDBOX_NOTREADY");
  CHECK(ended->has_exited_at());
  CHECK(service.holds_pod());
  REQUIRE(stop());
  CHECK(pod.stops.size() == 1);

  REQUIRE(shutdown());
  CHECK(shutdowns == 1);
  CHECK_FALSE(service.holds_pod());
  CHECK(status().error().code() == Code::kNotFound);
}

TEST_CASE_METHOD(SandboxFixture, "a VM that ends by itself is told to who waits") {
  REQUIRE(create());
  auto waiting = begin_wait();
  REQUIRE(start());
  pod.end(3);
  CHECK(exit_status(*waiting) == 3);
  CHECK(status()->state() == "SANDBOX_NOTREADY");
  CHECK(ping().error().code() == Code::kFailedPrecondition);
  auto later = begin_wait();
  CHECK(exit_status(*later) == 3);
}

TEST_CASE_METHOD(SandboxFixture, "platform and metrics") {
  auto platform =
      call<sandbox_api::PlatformResponse>("Platform", of<sandbox_api::PlatformRequest>());
  REQUIRE(platform);
  CHECK(platform->platform().os() == "linux");
  CHECK_FALSE(platform->platform().architecture().empty());

  auto measure = [&] {
    return call<sandbox_api::SandboxMetricsResponse>("SandboxMetrics",
                                                     of<sandbox_api::SandboxMetricsRequest>());
  };
  REQUIRE(create());
  CHECK(measure().error().code() == Code::kFailedPrecondition);
  REQUIRE(start());
  auto measured = measure();
  REQUIRE(measured);
  CHECK(measured->metrics().id() == "s1");
  CHECK(measured->metrics().timestamp().seconds() > 0);
  CHECK(measured->metrics().data().type_url() == "io.containerd.cgroups.v2.Metrics");
  CHECK(measured->metrics().data().value() == "values");
}

TEST_CASE_METHOD(SandboxFixture, "a sandbox that does not exist is not found") {
  auto codes = [&](const std::string& id) {
    std::vector<Code> codes;
    auto note = [&](const auto& answer) {
      REQUIRE_FALSE(answer);
      codes.push_back(answer.error().code());
    };
    note(call<sandbox_api::StartSandboxResponse>("StartSandbox",
                                                 of<sandbox_api::StartSandboxRequest>(id)));
    note(call<sandbox_api::StopSandboxResponse>("StopSandbox",
                                                of<sandbox_api::StopSandboxRequest>(id)));
    note(call<sandbox_api::WaitSandboxResponse>("WaitSandbox",
                                                of<sandbox_api::WaitSandboxRequest>(id)));
    note(call<sandbox_api::SandboxStatusResponse>("SandboxStatus",
                                                  of<sandbox_api::SandboxStatusRequest>(id)));
    note(call<sandbox_api::PingResponse>("PingSandbox", of<sandbox_api::PingRequest>(id)));
    note(call<sandbox_api::SandboxMetricsResponse>("SandboxMetrics",
                                                   of<sandbox_api::SandboxMetricsRequest>(id)));
    return codes;
  };
  std::vector<Code> not_found(6, Code::kNotFound);
  CHECK(codes("s1") == not_found);
  REQUIRE(create());
  CHECK(codes("s2") == not_found);
  auto other = of<sandbox_api::ShutdownSandboxRequest>("s2");
  CHECK(call<sandbox_api::ShutdownSandboxResponse>("ShutdownSandbox", other).error().code() ==
        Code::kNotFound);
  CHECK(shutdowns == 0);
}

TEST_CASE_METHOD(SandboxFixture, "calls at the wrong time") {
  auto other = of<sandbox_api::CreateSandboxRequest>("s2");
  CHECK(call<sandbox_api::CreateSandboxResponse>("CreateSandbox", other).error().code() ==
        Code::kInvalidArgument);
  auto relative = of<sandbox_api::CreateSandboxRequest>();
  relative.set_bundle_path("bundle");
  CHECK(call<sandbox_api::CreateSandboxResponse>("CreateSandbox", relative).error().code() ==
        Code::kInvalidArgument);
  REQUIRE(create());
  CHECK(create().error().code() == Code::kAlreadyExists);
  REQUIRE(start());
  CHECK(start().error().code() == Code::kFailedPrecondition);
  auto garbage = run(context, client->call(kSandboxService, "PingSandbox", "\xff\xff"));
  CHECK(garbage.error().code() == Code::kInvalidArgument);
}

TEST_CASE_METHOD(SandboxFixture, "the name of a pod of Kubernetes") {
  auto request = of<sandbox_api::CreateSandboxRequest>();
  request.set_bundle_path("/bundles/s1");
  auto create_with = [&](const char* type, const std::string& value) {
    request.mutable_options()->set_type_url(type);
    request.mutable_options()->set_value(value);
    return call<sandbox_api::CreateSandboxResponse>("CreateSandbox", request);
  };
  SECTION("of Kubernetes") {
    runtime::v1::PodSandboxConfig config;
    config.set_hostname("web-1");
    (*config.mutable_annotations())["of"] = "pod";
    REQUIRE(create_with("runtime.v1.PodSandboxConfig", config.SerializeAsString()));
    CHECK(pod.prepared.at(0).hostname == "web-1");
    CHECK(pod.prepared.at(0).annotations.at("of") == "pod");
  }
  SECTION("of somebody else") {
    REQUIRE(create_with("example.Options", "\xff"));
    CHECK(pod.prepared.at(0).hostname.empty());
  }
  SECTION("undecodable") {
    CHECK(create_with("runtime.v1.PodSandboxConfig", "\xff").error().code() ==
          Code::kInvalidArgument);
    CHECK(pod.prepared.empty());
    CHECK_FALSE(service.holds_pod());
  }
}

TEST_CASE_METHOD(SandboxFixture, "a create that fails can be repeated, or shut down") {
  pod.error.emplace(Code::kInvalidArgument, "no such network namespace");
  CHECK(create().error().message() == "no such network namespace");
  CHECK_FALSE(service.holds_pod());
  SECTION("repeated") {
    pod.error.reset();
    CHECK(create());
  }
  SECTION("shut down, as containerd does") {
    REQUIRE(shutdown());
    CHECK(shutdowns == 1);
  }
}

TEST_CASE_METHOD(SandboxFixture, "a boot that fails ends the sandbox") {
  REQUIRE(create());
  auto waiting = begin_wait();
  pod.error.emplace(Code::kUnavailable, "no agent");
  CHECK(start().error().message() == "no agent");
  CHECK(exit_status(*waiting) == 255);
  CHECK(start().error().code() == Code::kFailedPrecondition);
  REQUIRE(stop());
  REQUIRE(shutdown());
}

TEST_CASE_METHOD(SandboxFixture, "a sandbox is stopped before it was started") {
  REQUIRE(create());
  auto waiting = begin_wait();
  REQUIRE(stop());
  CHECK(exit_status(*waiting) == 0);
  CHECK(start().error().code() == Code::kFailedPrecondition);
}

TEST_CASE_METHOD(SandboxFixture, "a sandbox is stopped while it boots, and answers meanwhile") {
  REQUIRE(create());
  pod.boot_gate = sys::Event(context.get_executor());
  auto starting = begin("StartSandbox", of<sandbox_api::StartSandboxRequest>());
  run_until(context, [&] { return pod.boots == 1; });
  CHECK(status()->state() == "SANDBOX_NOTREADY");
  auto request = of<sandbox_api::StopSandboxRequest>();
  request.set_timeout_secs(7);
  REQUIRE(call<sandbox_api::StopSandboxResponse>("StopSandbox", request));
  CHECK(pod.stops.at(0) == std::chrono::seconds(7));
  run_until(context, [&] { return starting->has_value(); });
  CHECK((*starting)->error().code() == Code::kAborted);
}

TEST_CASE_METHOD(SandboxFixture, "a running sandbox is shut down with all that waits for it") {
  REQUIRE(create());
  REQUIRE(start());
  auto waiting = begin_wait();
  REQUIRE(shutdown());
  CHECK(exit_status(*waiting) == 137);
}

}  // namespace
}  // namespace kata::service
