#include "shim/service/task_service.h"

#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "containerd/task_events.pb.h"
#include "shim/ttrpc/client.h"
#include "shim/ttrpc/test_support.h"
#include "tests/fakes/fake_sandbox.h"

namespace kata::service {
namespace {

using fakes::FakeSandbox;
using testing::run;
using testing::run_until;

class FakeIo : public sandbox::ProcessIo {
 public:
  bool wants_stdin() const override { return false; }
  bool wants_stdout() const override { return false; }
  bool wants_stderr() const override { return false; }
  void attach(sandbox::StdioStreams) override {}
  Async<void> drained() override { co_return Status{}; }
  void close_stdin() override {}
  void process_ended() override {}
  void cancel() override {}
};

struct RecordedEvent {
  std::string topic;
  std::string type;
  std::string value;
};

class RecordingSink : public events::EventSink {
 public:
  void publish(std::string topic, const google::protobuf::MessageLite& event) override {
    events.push_back({std::move(topic), event.GetTypeName(), event.SerializeAsString()});
  }
  std::vector<std::string> topics() const {
    std::vector<std::string> all;
    for (const auto& event : events) all.push_back(event.topic);
    return all;
  }
  template <typename Event>
  Event decode(size_t index) const {
    Event event;
    CHECK(event.GetTypeName() == events.at(index).type);
    CHECK(event.ParseFromString(events.at(index).value));
    return event;
  }
  std::vector<RecordedEvent> events;
};

using Topics = std::vector<std::string>;

/// The service behind a real server and client, so that a test sees what containerd would.
struct ServiceFixture {
  ServiceFixture() {
    service.add_to(server, kTaskServiceV2);
    auto listener = sys::listen_unix(path);
    REQUIRE(listener);
    REQUIRE(server.serve(*std::move(listener)));
    client = run(context, ttrpc::Client::connect(context.get_executor(), path)).value();
  }

  template <typename Response = std::string, typename Request>
  Result<Response> call(const std::string& method, const Request& request) {
    KATA_TRY(std::string payload,
             run(context, client->call(kTaskServiceV2, method, request.SerializeAsString())));
    if constexpr (std::is_same_v<Response, std::string>) {
      return payload;
    } else {
      Response response;
      CHECK(response.ParseFromString(payload));
      return response;
    }
  }
  /// Sends a request whose answer the test waits for later.
  template <typename Request>
  std::shared_ptr<std::optional<Result<std::string>>> begin(const std::string& method,
                                                            const Request& request) {
    auto outcome = std::make_shared<std::optional<Result<std::string>>>();
    asio::co_spawn(
        context, client->call(kTaskServiceV2, method, request.SerializeAsString()),
        [outcome](std::exception_ptr, Result<std::string> result) { *outcome = result; });
    return outcome;
  }
  template <typename Request>
  static Request of(const std::string& id) {
    Request request;
    request.set_id(id);
    return request;
  }
  template <typename Request>
  static Request of_exec(const std::string& id, const std::string& exec_id) {
    auto request = of<Request>(id);
    request.set_exec_id(exec_id);
    return request;
  }
  Result<std::string> exec(const std::string& id, const std::string& exec_id) {
    auto request = of_exec<api::ExecProcessRequest>(id, exec_id);
    request.set_terminal(true);
    request.set_stdout("/fifos/" + exec_id);
    request.mutable_spec()->set_value(R"({"args": ["sh"]})");
    return call("Exec", request);
  }
  static api::CreateTaskRequest create_request(const std::string& id) {
    auto request = of<api::CreateTaskRequest>(id);
    request.set_bundle("/bundles/" + id);
    request.set_stdout("/fifos/" + id);
    auto* mount = request.add_rootfs();
    mount->set_type("overlay");
    mount->set_source("overlay");
    mount->add_options("lowerdir=/x");
    return request;
  }
  Result<api::CreateTaskResponse> create(const std::string& id) {
    return call<api::CreateTaskResponse>("Create", create_request(id));
  }
  Result<api::StartResponse> start(const std::string& id) {
    return call<api::StartResponse>("Start", of<api::StartRequest>(id));
  }
  Result<std::string> kill(const std::string& id, uint32_t signal) {
    auto request = of<api::KillRequest>(id);
    request.set_signal(signal);
    return call("Kill", request);
  }

  testing::TemporaryDirectory directory;
  std::filesystem::path path = directory / "sock";
  asio::io_context context{1};
  RecordingSink sink;
  std::vector<io::StdioConfig> opened;
  std::optional<Error> open_error;
  int shutdowns = 0;
  FakeSandbox sandbox{
      context.get_executor(),
      [this](const std::string& id, const std::string& exec_id, uint32_t pid,
             const sandbox::ProcessExit& exit) { service.on_exit(id, exec_id, pid, exit); }};
  TaskService service{
      sandbox, sink,
      [this](const io::StdioConfig& stdio) -> Async<std::unique_ptr<sandbox::ProcessIo>> {
        if (open_error) co_return std::unexpected(*open_error);
        opened.push_back(stdio);
        co_return std::make_unique<FakeIo>();
      },
      [this]() -> asio::awaitable<void> {
        ++shutdowns;
        co_return;
      }};
  ttrpc::Server server{context.get_executor()};
  std::unique_ptr<ttrpc::Client> client;
};

TEST_CASE_METHOD(ServiceFixture, "a container's life and its events") {
  auto created = create("c1");
  REQUIRE(created);
  CHECK(created->pid() == FakeSandbox::kPid);
  CHECK(sandbox.containers.at("c1")->rootfs.at(0).options == Topics{"lowerdir=/x"});
  CHECK(opened.at(0).out == "/fifos/c1");
  REQUIRE(start("c1"));
  auto waiting = begin("Wait", of<api::WaitRequest>("c1"));
  REQUIRE(kill("c1", 15));
  CHECK(sandbox.containers.at("c1")->signals == std::vector<uint32_t>{15});
  sandbox.end_process("c1", 143);
  run_until(context, [&] { return waiting->has_value(); });
  api::WaitResponse waited;
  REQUIRE(waited.ParseFromString(waiting->value().value()));
  CHECK(waited.exit_status() == 143);
  auto deleted = call<api::DeleteResponse>("Delete", of<api::DeleteRequest>("c1"));
  REQUIRE(deleted);
  CHECK(deleted->exit_status() == 143);
  CHECK(deleted->pid() == FakeSandbox::kPid);

  CHECK(sink.topics() == Topics{"/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"});
  auto create_event = sink.decode<containerd::events::TaskCreate>(0);
  CHECK(create_event.container_id() == "c1");
  CHECK(create_event.bundle() == "/bundles/c1");
  CHECK(create_event.rootfs(0).type() == "overlay");
  CHECK(create_event.io().stdout() == "/fifos/c1");
  CHECK(create_event.pid() == FakeSandbox::kPid);
  CHECK(sink.decode<containerd::events::TaskStart>(1).pid() == FakeSandbox::kPid);
  auto exit_event = sink.decode<containerd::events::TaskExit>(2);
  CHECK(exit_event.container_id() == "c1");
  CHECK(exit_event.id() == "c1");
  CHECK(exit_event.exit_status() == 143);
  auto delete_event = sink.decode<containerd::events::TaskDelete>(3);
  CHECK(delete_event.exit_status() == 143);
  CHECK(delete_event.exited_at().seconds() == exit_event.exited_at().seconds());
}

TEST_CASE_METHOD(ServiceFixture, "a process that ends at once: start comes before exit") {
  REQUIRE(create("c1"));
  sandbox.start_gate.emplace(context.get_executor());
  auto starting = begin("Start", of<api::StartRequest>("c1"));
  run_until(context, [&] {
    return sandbox.containers.at("c1")->state.status == sandbox::ProcessStatus::kRunning;
  });
  sandbox.end_process("c1", 0);
  CHECK(sink.topics() == Topics{"/tasks/create"});
  sandbox.start_gate->set();
  run_until(context, [&] { return starting->has_value(); });
  CHECK(starting->value());
  CHECK(sink.topics() == Topics{"/tasks/create", "/tasks/start", "/tasks/exit"});
}

TEST_CASE_METHOD(ServiceFixture, "a created process that ends has no start event") {
  REQUIRE(create("c1"));
  sandbox.end_process("c1", 137);
  REQUIRE(call("Delete", of<api::DeleteRequest>("c1")));
  CHECK(sink.topics() == Topics{"/tasks/create", "/tasks/exit", "/tasks/delete"});
}

TEST_CASE_METHOD(ServiceFixture, "a start that fails is not announced, its exit is") {
  REQUIRE(create("c1"));
  sandbox.start_error.emplace(Code::kNotFound, "exec: \"x\": no such file");
  auto started = start("c1");
  REQUIRE_FALSE(started);
  CHECK(started.error().code() == Code::kNotFound);
  CHECK(started.error().message() == "exec: \"x\": no such file");
  sandbox.end_process("c1", 127);
  CHECK(sink.topics() == Topics{"/tasks/create", "/tasks/exit"});
}

TEST_CASE_METHOD(ServiceFixture, "a create that fails leaves nothing and can be repeated") {
  SECTION("in the sandbox") {
    sandbox.create_error.emplace(Code::kUnavailable, "no VM");
    CHECK(create("c1").error().code() == Code::kUnavailable);
    sandbox.create_error.reset();
  }
  SECTION("at the stdio") {
    open_error.emplace(Code::kNotFound, "no fifo");
    CHECK(create("c1").error().code() == Code::kNotFound);
    open_error.reset();
  }
  CHECK(sink.events.empty());
  CHECK(call("State", of<api::StateRequest>("c1")).error().code() == Code::kNotFound);
  CHECK(create("c1"));
}

TEST_CASE_METHOD(ServiceFixture, "create refuses what it cannot do") {
  REQUIRE(create("c1"));
  CHECK(create("c1").error().code() == Code::kAlreadyExists);
  CHECK(create("../c2").error().code() == Code::kInvalidArgument);
  auto relative = create_request("c3");
  relative.set_bundle("bundle");
  CHECK(call("Create", relative).error().code() == Code::kInvalidArgument);
  auto checkpoint = create_request("c4");
  checkpoint.set_checkpoint("/dump");
  CHECK(call("Create", checkpoint).error().code() == Code::kUnimplemented);
  CHECK(opened.size() == 1);
}

TEST_CASE_METHOD(ServiceFixture, "state is runc's shim's") {
  auto request = create_request("c1");
  request.set_stdin("/in");
  request.set_stderr("/err");
  REQUIRE(call("Create", request));
  auto state = [&] {
    return call<api::StateResponse>("State", of<api::StateRequest>("c1")).value();
  };
  CHECK(state().status() == containerd::v1::types::CREATED);
  CHECK(state().id() == "c1");
  CHECK(state().bundle() == "/bundles/c1");
  CHECK(state().pid() == FakeSandbox::kPid);
  CHECK(state().stdin() == "/in");
  CHECK(state().stdout() == "/fifos/c1");
  CHECK(state().stderr() == "/err");
  CHECK_FALSE(state().terminal());
  REQUIRE(start("c1"));
  CHECK(state().status() == containerd::v1::types::RUNNING);
  CHECK_FALSE(state().has_exited_at());
  sandbox.end_process("c1", 3);
  CHECK(state().status() == containerd::v1::types::STOPPED);
  CHECK(state().exit_status() == 3);
  CHECK(state().exited_at().seconds() > 0);
  CHECK(state().pid() == FakeSandbox::kPid);
}

TEST_CASE_METHOD(ServiceFixture, "codes of calls at the wrong time") {
  auto not_created = [](const auto& result) {
    return !result && result.error().code() == Code::kNotFound &&
           result.error().message() == "container not created";
  };
  CHECK(not_created(start("c1")));
  CHECK(not_created(kill("c1", 9)));
  CHECK(not_created(call("State", of<api::StateRequest>("c1"))));
  CHECK(not_created(call("Wait", of<api::WaitRequest>("c1"))));
  CHECK(not_created(call("Delete", of<api::DeleteRequest>("c1"))));
  CHECK(not_created(call("Pids", of<api::PidsRequest>("c1"))));
  CHECK(not_created(call("CloseIO", of<api::CloseIORequest>("c1"))));

  REQUIRE(create("c1"));
  REQUIRE(start("c1"));
  CHECK(start("c1").error().code() == Code::kFailedPrecondition);
  CHECK(call("Delete", of<api::DeleteRequest>("c1")).error().code() == Code::kFailedPrecondition);
  CHECK(kill("c1", 99).error().code() == Code::kInvalidArgument);
  auto exec = of<api::StateRequest>("c1");
  exec.set_exec_id("e1");
  CHECK(call("State", exec).error().code() == Code::kNotFound);

  sandbox.end_process("c1", 0);
  auto killed = kill("c1", 9);
  CHECK(killed.error().code() == Code::kNotFound);
  CHECK(killed.error().message() == "process already finished");
  REQUIRE(call("Delete", of<api::DeleteRequest>("c1")));
  CHECK(not_created(call("Wait", of<api::WaitRequest>("c1"))));
  CHECK(not_created(call("Delete", of<api::DeleteRequest>("c1"))));
}

TEST_CASE_METHOD(ServiceFixture,
                 "a process that ends while it is being killed is already finished") {
  REQUIRE(create("c1"));
  REQUIRE(start("c1"));
  CHECK(kill("c1", FakeSandbox::kEndsAndFails).error().message() == "process already finished");
}

TEST_CASE_METHOD(ServiceFixture, "pids, stdin and connect") {
  REQUIRE(create("c1"));
  auto pids = call<api::PidsResponse>("Pids", of<api::PidsRequest>("c1")).value();
  REQUIRE(pids.processes_size() == 3);
  CHECK(pids.processes(2).pid() == 5);
  CHECK_FALSE(pids.processes(1).has_info());
  CHECK(pids.processes(2).info().type_url() == "containerd.runc.v1.ProcessDetails");
  CHECK(pids.processes(2).info().value() ==
        "\x0a\x02"
        "e5");

  REQUIRE(call("CloseIO", of<api::CloseIORequest>("c1")));
  CHECK_FALSE(sandbox.containers.at("c1")->stdin_closed);
  auto close_stdin = of<api::CloseIORequest>("c1");
  close_stdin.set_stdin(true);
  REQUIRE(call("CloseIO", close_stdin));
  CHECK(sandbox.containers.at("c1")->stdin_closed);

  auto connected = call<api::ConnectResponse>("Connect", of<api::ConnectRequest>("c1")).value();
  CHECK(connected.shim_pid() == static_cast<uint32_t>(getpid()));
  CHECK(connected.task_pid() == FakeSandbox::kPid);
  auto unknown = call<api::ConnectResponse>("Connect", of<api::ConnectRequest>("c2")).value();
  CHECK(unknown.task_pid() == 0);
}

TEST_CASE_METHOD(ServiceFixture, "shutdown ends the pod only when nobody uses it") {
  REQUIRE(create("c1"));
  REQUIRE(call("Shutdown", of<api::ShutdownRequest>("c1")));
  CHECK(shutdowns == 0);
  SECTION("when the last container is gone") {
    REQUIRE(call("Delete", of<api::DeleteRequest>("c1")));
    REQUIRE(call("Shutdown", of<api::ShutdownRequest>("c1")));
  }
  SECTION("or now") {
    auto now = of<api::ShutdownRequest>("c1");
    now.set_now(true);
    REQUIRE(call("Shutdown", now));
  }
  CHECK(shutdowns == 1);
}

TEST_CASE_METHOD(ServiceFixture, "a container that is being created keeps the pod alive") {
  sandbox.create_gate.emplace(context.get_executor());
  auto creating = begin("Create", create_request("c1"));
  run_until(context, [&] { return !opened.empty(); });
  REQUIRE(call("Shutdown", of<api::ShutdownRequest>("c1")));
  CHECK(shutdowns == 0);
  sandbox.create_gate->set();
  run_until(context, [&] { return creating->has_value(); });
  CHECK(creating->value());
}

TEST_CASE_METHOD(ServiceFixture, "a create that nobody waits for any more is undone") {
  sandbox.create_gate.emplace(context.get_executor());
  auto creating = begin("Create", create_request("c1"));
  run_until(context, [&] { return !opened.empty(); });
  client.reset();
  run_until(context, [&] { return creating->has_value(); });
  sandbox.create_gate->set();
  run_until(context, [&] { return sandbox.removed == 1; });
  CHECK(sandbox.containers.empty());
  CHECK(sink.events.empty());
}

TEST_CASE_METHOD(ServiceFixture, "other calls answer while a create is under way") {
  REQUIRE(create("c1"));
  sandbox.create_gate.emplace(context.get_executor());
  auto creating = begin("Create", create_request("c2"));
  run_until(context, [&] { return opened.size() == 2; });
  CHECK(start("c1"));
  CHECK(call("State", of<api::StateRequest>("c1")));
  sandbox.end_process("c1", 0);
  CHECK(sink.topics() == Topics{"/tasks/create", "/tasks/start", "/tasks/exit"});
  sandbox.create_gate->set();
  run_until(context, [&] { return creating->has_value(); });
}

TEST_CASE_METHOD(ServiceFixture, "an exit of a deleted container is not announced") {
  REQUIRE(create("c1"));
  REQUIRE(call("Delete", of<api::DeleteRequest>("c1")));
  service.on_exit("c1", "", FakeSandbox::kPid, {});
  CHECK(sink.topics() == Topics{"/tasks/create", "/tasks/delete"});
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
