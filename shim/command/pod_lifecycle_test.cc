#include "shim/command/pod_lifecycle.h"

#include <fstream>

#include <catch2/catch.hpp>

#include "shim/ttrpc/test_support.h"
#include "tests/fakes/fake_sandbox.h"

namespace kata::command {
namespace {

using testing::run;

struct PodFixture {
  service::PodRequest request() {
    service::PodRequest request;
    request.id = "s1";
    request.bundle = directory.path();
    request.network_namespace = "/run/netns/n1";
    return request;
  }
  Status prepare(service::PodRequest request) {
    return run(context, pod.prepare(std::move(request)));
  }

  testing::TemporaryDirectory directory;
  asio::io_context context{1};
  fakes::FakeSandbox sandbox{context.get_executor(), {}};
  std::vector<std::string> entered;
  std::optional<Error> no_network;
  VmLifecycle pod{sandbox, [this](const std::string& path) -> Status {
                    if (no_network) return std::unexpected(*no_network);
                    entered.push_back(path);
                    return {};
                  }};
};

TEST_CASE_METHOD(PodFixture, "a pod without config.json boots in its network namespace") {
  REQUIRE(prepare(request()));
  CHECK(entered == std::vector<std::string>{"/run/netns/n1"});
  CHECK(sandbox.calls.empty());
  CHECK(run(context, pod.boot()) == fakes::FakeSandbox::kPid);
  CHECK(sandbox.calls == std::vector<std::string>{"boot "});
}

TEST_CASE_METHOD(PodFixture, "a pod in the host's network, with a name from config.json") {
  std::ofstream(directory / "config.json") << R"({"hostname": "web-1"})";
  auto on_host = request();
  on_host.network_namespace.clear();
  REQUIRE(prepare(std::move(on_host)));
  CHECK(entered.empty());
  REQUIRE(run(context, pod.boot()));
  auto named = request();
  named.hostname = "web-2";
  REQUIRE(prepare(std::move(named)));
  REQUIRE(run(context, pod.boot()));
  CHECK(sandbox.calls == std::vector<std::string>{"boot web-1", "boot web-2"});
}

TEST_CASE_METHOD(PodFixture, "what keeps a pod from being prepared") {
  no_network = Error(Code::kNotFound, "no such namespace");
  CHECK(prepare(request()).error().code() == Code::kNotFound);
  std::ofstream(directory / "config.json") << "{";
  CHECK(prepare(request()).error().code() == Code::kInvalidArgument);
  std::filesystem::remove(directory / "config.json");
  sandbox.call_error = Error(Code::kPermissionDenied, "annotation a is not enabled");
  CHECK(prepare(request()).error().code() == Code::kPermissionDenied);
  sandbox.call_error.reset();
  REQUIRE(run(context, sandbox.create({.id = "c1", .bundle = {}, .rootfs = {}, .io = nullptr})));
  CHECK(prepare(request()).error().code() == Code::kFailedPrecondition);
  CHECK(sandbox.calls.empty());
}

TEST_CASE_METHOD(PodFixture, "a pod's annotations reach its sandbox before the boot") {
  auto annotated = request();
  annotated.annotations = {{"io.katacontainers.config.hypervisor.default_memory", "512"}};
  REQUIRE(prepare(annotated));
  CHECK(sandbox.annotations == annotated.annotations);
}

TEST_CASE_METHOD(PodFixture, "a pod whose boot failed cannot be booted by a container") {
  REQUIRE(prepare(request()));
  sandbox.call_error = Error(Code::kUnavailable, "QEMU ended");
  auto booted = run(context, pod.boot());
  CHECK(booted.error().code() == Code::kUnavailable);
  CHECK(sandbox.calls == std::vector<std::string>{"boot ", "stop 0"});
}

TEST_CASE_METHOD(PodFixture, "what is asked of a pod that runs") {
  CHECK(run(context, pod.ping()));
  CHECK(run(context, pod.stop(std::chrono::seconds(7))));
  CHECK(sandbox.calls == std::vector<std::string>{"ping", "stop 7"});
  auto metrics = run(context, pod.metrics());
  REQUIRE(metrics);
  CHECK(metrics->type_url == "io.containerd.cgroups.v2.Metrics");
  CHECK(metrics->value == "metrics of the pod");
  sandbox.vm_ended.set({.status = 137, .at = {}});
  CHECK(run(context, pod.wait())->status == 137);
}

}  // namespace
}  // namespace kata::command
