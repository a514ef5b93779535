// For tests: the agent's gRPC server and a client of it, in one process.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>

#include "agent.grpc.pb.h"
#include "agent/rpc/server.h"
#include "agent/testing/guest.h"

namespace kata::rpc::testing {

namespace pb = kata::agent::v1;

inline constexpr std::chrono::microseconds kSetupTime{1234};

/// A server in this process and a client on a socket pair.
struct TestServer {
  TestServer() : sandbox(guest.environment(), false, kSetupTime), rootfs(guest.make_rootfs()) {
    auto started = Server::start(sandbox);
    REQUIRE(started);
    server = *std::move(started);
    thread = std::thread([this] { server->run(); });
    stub = pb::Agent::NewStub(connect());
  }

  ~TestServer() {
    sandbox.remove_all();
    stub.reset();
    server->stop();
    thread.join();
  }

  std::shared_ptr<grpc::Channel> connect() {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    server->add_connection(UniqueFd(ends[0]));
    return grpc::CreateInsecureChannelFromFd("agent", ends[1]);
  }

  grpc::Status create_sandbox() {
    pb::CreateSandboxRequest request;
    request.set_sandbox_id("pod");
    grpc::ClientContext context;
    return stub->CreateSandbox(&context, request, &sandbox_response);
  }

  grpc::Status create(const std::string& id, const std::vector<std::string>& args,
                      bool with_output = false) {
    pb::CreateContainerRequest request;
    request.set_container_id(id);
    request.set_oci_spec(kata::testing::make_spec(args));
    request.set_rootfs(rootfs);
    request.set_stdout(with_output);
    grpc::ClientContext context;
    return stub->CreateContainer(&context, request, &container_response);
  }

  grpc::Status start(const std::string& id, const std::string& exec_id = "") {
    pb::StartProcessRequest request;
    request.set_container_id(id);
    request.set_exec_id(exec_id);
    pb::StartProcessResponse response;
    grpc::ClientContext context;
    return stub->StartProcess(&context, request, &response);
  }

  grpc::Status signal(const std::string& id, uint32_t number, const std::string& exec_id = "") {
    pb::SignalProcessRequest request;
    request.set_container_id(id);
    request.set_exec_id(exec_id);
    request.set_signal(number);
    pb::SignalProcessResponse response;
    grpc::ClientContext context;
    return stub->SignalProcess(&context, request, &response);
  }

  grpc::Status wait(const std::string& id, pb::WaitProcessResponse& response,
                    const std::string& exec_id = "") {
    pb::WaitProcessRequest request;
    request.set_container_id(id);
    request.set_exec_id(exec_id);
    grpc::ClientContext context;
    return stub->WaitProcess(&context, request, &response);
  }

  grpc::Status remove(const std::string& id) {
    pb::DeleteContainerRequest request;
    request.set_container_id(id);
    pb::DeleteContainerResponse response;
    grpc::ClientContext context;
    return stub->DeleteContainer(&context, request, &response);
  }

  kata::testing::Guest guest;
  sandbox::Sandbox sandbox;
  std::string rootfs;
  std::unique_ptr<Server> server;
  std::thread thread;
  std::unique_ptr<pb::Agent::Stub> stub;
  pb::CreateSandboxResponse sandbox_response;
  pb::CreateContainerResponse container_response;
};

}  // namespace kata::rpc::testing
