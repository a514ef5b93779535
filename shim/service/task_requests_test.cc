// What a container that is there is asked: execs, terminals, pause, limits.
#include <catch2/catch.hpp>

#include "containerd/runtime_options.pb.h"
#include "shim/service/task_service.h"
#include "tests/fakes/task_service_fixture.h"

namespace kata::service {
namespace {

TEST_CASE_METHOD(ServiceFixture, "the options of a create name the configuration") {
  const auto create_with = [this](const std::string& id, const char* type) {
    runtimeoptions::v1::Options options;
    options.set_config_path("/etc/kata.toml");
    auto request = create_request(id);
    request.mutable_options()->set_type_url(type);
    request.mutable_options()->set_value(options.SerializeAsString());
    return call<api::CreateTaskResponse>("Create", request);
  };
  REQUIRE(create_with("c1", "runtimeoptions.v1.Options"));
  CHECK(sandbox.containers.at("c1")->config_path == "/etc/kata.toml");
  REQUIRE(create("c2"));
  CHECK(sandbox.containers.at("c2")->config_path.empty());
  const auto refused = create_with("c3", "of.another.Runtime");
  CHECK(refused.error().code() == Code::kInvalidArgument);
  CHECK(refused.error().message().find("of.another.Runtime") != std::string::npos);
  CHECK_FALSE(sandbox.containers.contains("c3"));
}

TEST_CASE_METHOD(ServiceFixture, "an exec's life and its events") {
  REQUIRE(create("c1"));
  REQUIRE(start("c1"));
  REQUIRE(exec("c1", "e1"));
  CHECK(exec("c1", "e1").error().code() == Code::kAlreadyExists);
  CHECK(opened.at(1).out == "/fifos/e1");
  CHECK(opened.at(1).terminal);
  CHECK(opened.at(1).id == "c1/e1");
  CHECK(sandbox.containers.at("c1")->execs.at("e1").spec_json ==
        R"({"args":["sh"],"terminal":true})");
  auto started = call<api::StartResponse>("Start", of_exec<api::StartRequest>("c1", "e1"));
  REQUIRE(started);
  CHECK(started->pid() == FakeSandbox::kExecPid);
  auto state = call<api::StateResponse>("State", of_exec<api::StateRequest>("c1", "e1")).value();
  CHECK(state.id() == "e1");
  CHECK(state.exec_id() == "e1");
  CHECK(state.stdout() == "/fifos/e1");
  CHECK(state.pid() == FakeSandbox::kExecPid);
  CHECK(state.terminal());
  sandbox.end_exec("c1", "e1", 5);
  auto deleted =
      call<api::DeleteResponse>("Delete", of_exec<api::DeleteRequest>("c1", "e1")).value();
  CHECK(deleted.exit_status() == 5);
  CHECK(call("State", of_exec<api::StateRequest>("c1", "e1")).error().code() == Code::kNotFound);
  CHECK(exec("c1", "e1"));

  CHECK(sink.topics() == Topics{"/tasks/create", "/tasks/start", "/tasks/exec-added",
                                "/tasks/exec-started", "/tasks/exit", "/tasks/exec-added"});
  CHECK(sink.decode<containerd::events::TaskExecAdded>(2).exec_id() == "e1");
  CHECK(sink.decode<containerd::events::TaskExecStarted>(3).pid() == FakeSandbox::kExecPid);
  auto exit_event = sink.decode<containerd::events::TaskExit>(4);
  CHECK(exit_event.container_id() == "c1");
  CHECK(exit_event.id() == "e1");
  CHECK(exit_event.pid() == FakeSandbox::kExecPid);
  CHECK(exit_event.exit_status() == 5);
}

TEST_CASE_METHOD(ServiceFixture, "execs that cannot be") {
  CHECK(exec("c1", "e1").error().code() == Code::kNotFound);
  REQUIRE(create("c1"));
  CHECK(exec("c1", "../e1").error().code() == Code::kInvalidArgument);
  auto request = of_exec<api::ExecProcessRequest>("c1", "e1");
  const std::string too_deep =
      R"({"a":)" + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  for (const std::string& wrong : {std::string("no json"), too_deep}) {
    request.mutable_spec()->set_value(wrong);
    CHECK(call("Exec", request).error().code() == Code::kInvalidArgument);
  }
  REQUIRE(exec("c1", "e1"));
  sandbox.start_error.emplace(Code::kNotFound, "exec: \"x\": no such file");
  CHECK(call("Start", of_exec<api::StartRequest>("c1", "e1")).error().code() == Code::kNotFound);
  CHECK(sink.topics() == Topics{"/tasks/create", "/tasks/exec-added"});
}

TEST_CASE_METHOD(ServiceFixture, "pause, resume and OOM are announced") {
  CHECK(call("Pause", of<api::PauseRequest>("c1")).error().code() == Code::kNotFound);
  REQUIRE(create("c1"));
  sandbox.call_error.emplace(Code::kFailedPrecondition, "cannot pause a created container");
  CHECK(call("Pause", of<api::PauseRequest>("c1")).error().code() == Code::kFailedPrecondition);
  sandbox.call_error.reset();
  REQUIRE(call("Pause", of<api::PauseRequest>("c1")));
  REQUIRE(call("Resume", of<api::ResumeRequest>("c1")));
  service.on_oom("c1");
  service.on_oom("unknown");
  CHECK(sink.topics() == Topics{"/tasks/create", "/tasks/paused", "/tasks/resumed", "/tasks/oom"});
  CHECK(sink.decode<containerd::events::TaskOOM>(3).container_id() == "c1");
}

TEST_CASE_METHOD(ServiceFixture, "terminal size, limits, metrics, checkpoint") {
  REQUIRE(create("c1"));
  auto resize = of_exec<api::ResizePtyRequest>("c1", "e1");
  resize.set_width(80);
  resize.set_height(25);
  CHECK(call("ResizePty", resize).error().code() == Code::kNotFound);
  REQUIRE(exec("c1", "e1"));
  REQUIRE(call("ResizePty", resize));
  // The container itself has no terminal.
  REQUIRE(call("ResizePty", of<api::ResizePtyRequest>("c1")));
  resize.set_height(70000);
  CHECK(call("ResizePty", resize).error().code() == Code::kInvalidArgument);
  auto update = of<api::UpdateTaskRequest>("c1");
  update.mutable_resources()->set_value("{}");
  REQUIRE(call("Update", update));
  CHECK(sandbox.calls == Topics{"resize 80x25", "update {}"});
  auto stats = call<api::StatsResponse>("Stats", of<api::StatsRequest>("c1")).value();
  CHECK(stats.stats().type_url() == "io.containerd.cgroups.v2.Metrics");
  CHECK(stats.stats().value() == "metrics");
  auto saved = call("Checkpoint", of<api::CheckpointTaskRequest>("c1"));
  CHECK(saved.error().code() == Code::kUnimplemented);
}

TEST_CASE_METHOD(ServiceFixture, "a request that cannot be decoded") {
  auto answered = run(context, client->call(kTaskServiceV2, "State", "\xff\xff"));
  CHECK(answered.error().code() == Code::kInvalidArgument);
}

}  // namespace
}  // namespace kata::service
