#include "agent/rpc/server.h"

#include <cstdlib>
#include <filesystem>
#include <future>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>

#include "agent/rpc/test_server.h"

namespace kata::rpc {
namespace {

namespace pb = kata::agent::v1;
using Fixture = testing::TestServer;

TEST_CASE("A container from its creation to its removal") {
  Fixture fixture;
  REQUIRE(fixture.create_sandbox().ok());
  CHECK_FALSE(fixture.sandbox_response.kernel_release().empty());
  CHECK(fixture.sandbox_response.setup_us() == 1234);
  auto created = fixture.create("agent-r-life", {"sh", "-c", "echo hello; exit 3"}, true);
  INFO(created.error_message());
  REQUIRE(created.ok());
  CHECK(fixture.container_response.process().pid() > 0);
  CHECK(fixture.container_response.process().stdin_port() == 0);
  UniqueFd out = fixture.guest.connect(fixture.container_response.process().stdout_port());

  // Many may wait, before and after the end, without holding the server up.
  std::vector<std::future<uint32_t>> waiters;
  for (int i = 0; i < 20; ++i) {
    waiters.push_back(std::async(std::launch::async, [&] {
      pb::WaitProcessResponse response;
      return fixture.wait("agent-r-life", response).ok() ? response.exit_status() : 1000;
    }));
  }
  REQUIRE(fixture.start("agent-r-life").ok());
  CHECK(kata::testing::read_all(out.get()) == "hello\n");
  for (auto& waiter : waiters) CHECK(waiter.get() == 3);
  pb::WaitProcessResponse response;
  REQUIRE(fixture.wait("agent-r-life", response).ok());
  CHECK(response.exited_at_unix_ns() > 0);
  CHECK_FALSE(response.oom_killed());
  CHECK(fixture.remove("agent-r-life").ok());
  CHECK(fixture.remove("agent-r-life").error_code() == grpc::NOT_FOUND);
}

TEST_CASE("Codes of refused calls") {
  Fixture fixture;
  CHECK(fixture.create("agent-r-early", {"true"}).error_code() == grpc::FAILED_PRECONDITION);
  REQUIRE(fixture.create_sandbox().ok());
  CHECK(fixture.create_sandbox().error_code() == grpc::FAILED_PRECONDITION);
  CHECK(fixture.create("../x", {"true"}).error_code() == grpc::INVALID_ARGUMENT);
  CHECK(fixture.start("nosuch").error_code() == grpc::NOT_FOUND);
  CHECK(fixture.start("").error_code() == grpc::INVALID_ARGUMENT);
  CHECK(fixture.signal("nosuch", SIGKILL).error_code() == grpc::NOT_FOUND);
  pb::WaitProcessResponse response;
  CHECK(fixture.wait("nosuch", response).error_code() == grpc::NOT_FOUND);
  CHECK(fixture.remove("nosuch").error_code() == grpc::NOT_FOUND);

  REQUIRE(fixture.create("agent-r-codes", {"sleep", "1000"}).ok());
  CHECK(fixture.create("agent-r-codes", {"true"}).error_code() == grpc::ALREADY_EXISTS);
  REQUIRE(fixture.start("agent-r-codes").ok());
  CHECK(fixture.start("agent-r-codes").error_code() == grpc::FAILED_PRECONDITION);
  CHECK(fixture.remove("agent-r-codes").error_code() == grpc::FAILED_PRECONDITION);
  CHECK(fixture.signal("agent-r-codes", 65).error_code() == grpc::INVALID_ARGUMENT);
  CHECK(fixture.signal("agent-r-codes", SIGKILL, "no-exec").error_code() == grpc::NOT_FOUND);
  CHECK(fixture.signal("agent-r-codes", SIGKILL).ok());
  REQUIRE(fixture.wait("agent-r-codes", response).ok());
  CHECK(response.exit_status() == 128 + SIGKILL);
}

TEST_CASE("A program that does not exist is NotFound at its creation, the id is free again") {
  Fixture fixture;
  REQUIRE(fixture.create_sandbox().ok());
  auto created = fixture.create("agent-r-missing", {"nosuch"});
  CHECK(created.error_code() == grpc::NOT_FOUND);
  CHECK(created.error_message() ==
        "unable to start container process: exec: \"nosuch\": executable file not found in $PATH");
  CHECK(fixture.create("agent-r-missing", {"true"}).ok());
}

TEST_CASE("A long error keeps its end, and the connection lives on") {
  Fixture fixture;
  REQUIRE(fixture.create_sandbox().ok());
  grpc::Status refused = fixture.create("agent-r-long", {"/" + std::string(10'000, '%')});
  CHECK_THAT(refused.error_message(),
             Catch::Matchers::Contains("[...]") && Catch::Matchers::EndsWith("ile name too long"));
  REQUIRE(fixture.create("agent-r-long", {"true"}).ok());
  CHECK(fixture.remove("agent-r-long").ok());
}

TEST_CASE("The server outlives a client that speaks no HTTP/2 and requests beyond all bounds") {
  Fixture fixture;
  REQUIRE(fixture.create_sandbox().ok());
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  fixture.server->add_connection(UniqueFd(ends[0]));
  UniqueFd garbage(ends[1]);
  std::string noise(100'000, '\xff');
  static_cast<void>(send(garbage.get(), noise.data(), noise.size(), MSG_NOSIGNAL));
  garbage.reset();

  pb::CreateContainerRequest request;
  request.set_container_id("agent-r-huge");
  request.set_oci_spec(std::string(20 * 1024 * 1024, ' '));
  request.set_rootfs(fixture.rootfs);
  pb::CreateContainerResponse response;
  grpc::ClientContext context;
  CHECK(fixture.stub->CreateContainer(&context, request, &response).error_code() ==
        grpc::RESOURCE_EXHAUSTED);
  CHECK(fixture.create("agent-r-after", {"true"}).ok());
}

TEST_CASE("kata-agent as an ordinary process: serves on a socket, leaves nothing at its end") {
  kata::testing::TemporaryDirectory directory;
  kata::testing::Guest guest;
  const std::string rootfs = guest.make_rootfs();
  const std::string socket = directory.path() / "agent.sock";
  const std::string cgroup_root = guest.cgroup_root();
  const std::string listen = "unix:" + socket;
  const char* const arguments[] = {"kata-agent",    "--no-init",         "--listen", listen.c_str(),
                                   "--cgroup-root", cgroup_root.c_str(), nullptr};
  std::promise<uint32_t> ended;
  pid_t agent = -1;
  auto spawned = guest.reaper().spawn(
      [&]() -> Result<pid_t> {
        int failed = posix_spawn(&agent, std::getenv("KATA_AGENT"), nullptr, nullptr,
                                 const_cast<char* const*>(arguments), environ);
        if (failed != 0) return fail_errno("start kata-agent", failed);
        return agent;
      },
      [&](uint32_t status) { ended.set_value(status); });
  REQUIRE(spawned);

  // The client tries again until the socket is there.
  auto channel = grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials());
  REQUIRE(channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(30)));
  auto stub = pb::Agent::NewStub(channel);
  pb::CreateSandboxRequest sandbox;
  sandbox.set_sandbox_id("pod");
  pb::CreateSandboxResponse sandbox_response;
  grpc::ClientContext sandbox_context;
  REQUIRE(stub->CreateSandbox(&sandbox_context, sandbox, &sandbox_response).ok());
  pb::CreateContainerRequest container;
  container.set_container_id("agent-r-process");
  container.set_oci_spec(kata::testing::make_spec({"sleep", "1000"}));
  container.set_rootfs(rootfs);
  container.set_stdin(true);
  pb::CreateContainerResponse container_response;
  grpc::ClientContext container_context;
  REQUIRE(stub->CreateContainer(&container_context, container, &container_response).ok());
  CHECK(std::filesystem::exists(directory.path() /
                                std::to_string(container_response.process().stdin_port())));

  kill(agent, SIGTERM);
  CHECK(ended.get_future().get() == 0);
  CHECK(std::filesystem::is_empty(directory.path()));
  CHECK_FALSE(std::filesystem::exists(cgroup_root + "/kata/agent-r-process"));
}

}  // namespace
}  // namespace kata::rpc
