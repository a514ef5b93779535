// The methods of proto/agent.proto beyond the life of a container (see server_test.cc).
#include <future>

#include <catch2/catch.hpp>
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include "agent/rpc/test_server.h"

namespace kata::rpc {
namespace {

namespace pb = kata::agent::v1;
using Fixture = testing::TestServer;

TEST_CASE("An exec from its creation to its removal") {
  Fixture fixture;
  REQUIRE(fixture.create_sandbox().ok());
  REQUIRE(fixture.create("agent-r-exec", {"sleep", "1000"}).ok());
  REQUIRE(fixture.start("agent-r-exec").ok());
  pb::CreateExecRequest request;
  request.set_container_id("agent-r-exec");
  request.set_exec_id("e");
  request.set_oci_process(R"({"args": ["sh", "-c", "echo hello; exit 3"], "cwd": "/",
                              "env": ["PATH=/bin"]})");
  request.set_stdout(true);
  pb::CreateExecResponse created;
  auto create = [&] {
    grpc::ClientContext context;
    return fixture.stub->CreateExec(&context, request, &created);
  };
  auto remove = [&] {
    pb::DeleteExecRequest request;
    request.set_container_id("agent-r-exec");
    request.set_exec_id("e");
    pb::DeleteExecResponse response;
    grpc::ClientContext context;
    return fixture.stub->DeleteExec(&context, request, &response);
  };
  pb::WaitProcessResponse exit;
  CHECK(remove().error_code() == grpc::NOT_FOUND);
  CHECK(fixture.wait("agent-r-exec", exit, "e").error_code() == grpc::NOT_FOUND);
  REQUIRE(create().ok());
  CHECK(create().error_code() == grpc::ALREADY_EXISTS);
  CHECK(created.process().pid() > 0);
  UniqueFd out = fixture.guest.connect(created.process().stdout_port());
  REQUIRE(fixture.start("agent-r-exec", "e").ok());
  CHECK(kata::testing::read_all(out.get()) == "hello\n");
  REQUIRE(fixture.wait("agent-r-exec", exit, "e").ok());
  CHECK(exit.exit_status() == 3);
  CHECK(fixture.signal("agent-r-exec", SIGKILL, "e").error_code() == grpc::NOT_FOUND);
  CHECK(remove().ok());
  CHECK(remove().error_code() == grpc::NOT_FOUND);
  request.set_oci_process("{");
  CHECK(create().error_code() == grpc::INVALID_ARGUMENT);
  request.set_exec_id("../e");
  CHECK(create().error_code() == grpc::INVALID_ARGUMENT);
  request.set_container_id("nosuch");
  CHECK(create().error_code() == grpc::NOT_FOUND);
}

/// Any method, with a deadline: one that is not served would never answer.
template <typename Request, typename Response>
grpc::Status call(pb::Agent::Stub& stub,
                  grpc::Status (pb::Agent::Stub::*method)(grpc::ClientContext*, const Request&,
                                                          Response*),
                  const Request& request, Response& response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  return (stub.*method)(&context, request, &response);
}

template <typename Request, typename Response>
grpc::StatusCode code_of(pb::Agent::Stub& stub,
                         grpc::Status (pb::Agent::Stub::*method)(grpc::ClientContext*,
                                                                 const Request&, Response*),
                         const std::string& id) {
  Request request;
  request.set_container_id(id);
  Response response;
  return call(stub, method, request, response).error_code();
}

TEST_CASE("Every method of the service answers") {
  Fixture fixture;
  auto& stub = *fixture.stub;
  CHECK(code_of(stub, &pb::Agent::Stub::CreateContainer, "nosuch") == grpc::FAILED_PRECONDITION);
  CHECK(code_of(stub, &pb::Agent::Stub::CreateExec, "nosuch") == grpc::NOT_FOUND);
  CHECK(code_of(stub, &pb::Agent::Stub::StartProcess, "nosuch") == grpc::NOT_FOUND);
  CHECK(code_of(stub, &pb::Agent::Stub::SignalProcess, "nosuch") == grpc::NOT_FOUND);
  CHECK(code_of(stub, &pb::Agent::Stub::WaitProcess, "nosuch") == grpc::NOT_FOUND);
  CHECK(code_of(stub, &pb::Agent::Stub::ListProcesses, "nosuch") == grpc::NOT_FOUND);
  CHECK(code_of(stub, &pb::Agent::Stub::DeleteExec, "nosuch") == grpc::INVALID_ARGUMENT);
  CHECK(code_of(stub, &pb::Agent::Stub::DeleteContainer, "nosuch") == grpc::NOT_FOUND);
  CHECK(code_of(stub, &pb::Agent::Stub::ResizeTerminal, "nosuch") == grpc::NOT_FOUND);
  CHECK(code_of(stub, &pb::Agent::Stub::PauseContainer, "nosuch") == grpc::NOT_FOUND);
  CHECK(code_of(stub, &pb::Agent::Stub::ResumeContainer, "nosuch") == grpc::NOT_FOUND);
  CHECK(code_of(stub, &pb::Agent::Stub::UpdateContainer, "nosuch") == grpc::NOT_FOUND);
  CHECK(code_of(stub, &pb::Agent::Stub::GetMetrics, "nosuch") == grpc::NOT_FOUND);
  CHECK(code_of(stub, &pb::Agent::Stub::WaitOom, "nosuch") == grpc::NOT_FOUND);
  pb::AdjustClockRequest adjustment;
  pb::AdjustClockResponse clock;
  CHECK(call(stub, &pb::Agent::Stub::AdjustClock, adjustment, clock).ok());
  CHECK(clock.unix_ns() / 1'000'000'000 - time(nullptr) <= 0);
  CHECK(clock.unix_ns() / 1'000'000'000 - time(nullptr) >= -60);
  pb::PingResponse pong;
  CHECK(call(stub, &pb::Agent::Stub::Ping, pb::PingRequest(), pong).ok());
}

TEST_CASE("Pause, resume, update, metrics and the end of an OOM wait") {
  Fixture fixture;
  auto& stub = *fixture.stub;
  REQUIRE(fixture.create_sandbox().ok());
  REQUIRE(fixture.create("agent-r-limits", {"sleep", "1000"}).ok());
  const std::string id = "agent-r-limits";
  CHECK(code_of(stub, &pb::Agent::Stub::PauseContainer, id) == grpc::FAILED_PRECONDITION);
  REQUIRE(fixture.start(id).ok());
  CHECK(code_of(stub, &pb::Agent::Stub::PauseContainer, id) == grpc::OK);
  CHECK(code_of(stub, &pb::Agent::Stub::ResumeContainer, id) == grpc::OK);
  CHECK(code_of(stub, &pb::Agent::Stub::ResizeTerminal, id) == grpc::FAILED_PRECONDITION);

  pb::UpdateContainerRequest update;
  update.set_container_id(id);
  pb::UpdateContainerResponse updated;
  update.set_oci_resources("{}");
  CHECK(call(stub, &pb::Agent::Stub::UpdateContainer, update, updated).ok());
  update.set_oci_resources(R"({"memory": 5})");
  CHECK(call(stub, &pb::Agent::Stub::UpdateContainer, update, updated).error_code() ==
        grpc::INVALID_ARGUMENT);

  pb::GetMetricsRequest metrics;
  metrics.set_container_id(id);
  pb::GetMetricsResponse measured;
  REQUIRE(call(stub, &pb::Agent::Stub::GetMetrics, metrics, measured).ok());
  // The one file that needs no controller.
  CHECK(measured.metrics().cpu().usage_usec() > 0);
  const uint64_t used_by_one = measured.metrics().cpu().usage_usec();
  metrics.clear_container_id();
  REQUIRE(call(stub, &pb::Agent::Stub::GetMetrics, metrics, measured).ok());
  CHECK(measured.metrics().cpu().usage_usec() >= used_by_one);

  pb::WaitOomRequest never;
  never.set_container_id(id);
  never.set_seen(7);
  pb::WaitOomResponse kills;
  auto oom = std::async(std::launch::async,
                        [&] { return call(stub, &pb::Agent::Stub::WaitOom, never, kills); });
  CHECK(oom.wait_for(std::chrono::milliseconds(100)) == std::future_status::timeout);
  REQUIRE(fixture.signal(id, SIGKILL).ok());
  pb::WaitProcessResponse exit;
  REQUIRE(fixture.wait(id, exit).ok());
  CHECK(code_of(stub, &pb::Agent::Stub::PauseContainer, id) == grpc::FAILED_PRECONDITION);
  CHECK(oom.wait_for(std::chrono::milliseconds(0)) == std::future_status::timeout);
  REQUIRE(fixture.remove(id).ok());
  CHECK(oom.get().ok());
  CHECK(kills.oom_kills() == 7);
}

}  // namespace
}  // namespace kata::rpc
