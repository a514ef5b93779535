#include "shim/service/task_service.h"

#include <catch2/catch.hpp>

#include "tests/fakes/task_service_fixture.h"

namespace kata::service {
namespace {

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

}  // namespace
}  // namespace kata::service
