// The host's client against the agent's server, in one process.
#include <array>

#include <catch2/catch.hpp>
#include <sched.h>
#include <sys/socket.h>

#include "agent/rpc/test_server.h"
#include "runtime/agent_client/grpc_agent.h"

namespace kata::agent_client {
namespace {

constexpr int kConnections = 2000;

/// On one CPU, whose scheduler can put our thread ahead of gRPC's in the midst of its callback.
void stay_on_one_cpu() {
  cpu_set_t allowed;
  REQUIRE(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    return;
  }
}

asio::awaitable<void> connect_ask_and_leave(asio::any_io_executor executor, rpc::Server& server,
                                            int& answered) {
  for (int i = 0; i < kConnections; ++i) {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0);
    server.add_connection(UniqueFd(ends[0]));
    auto agent = connect(executor, UniqueFd(ends[1]));
    const auto pong = co_await agent->ping();
    REQUIRE(pong);
    agent.reset();
    ++answered;
  }
}

TEST_CASE("a connection may be dropped as soon as its call is answered") {
  stay_on_one_cpu();
  rpc::testing::TestServer agent;
  asio::io_context loop;
  int answered = 0;
  asio::co_spawn(loop, connect_ask_and_leave(loop.get_executor(), *agent.server, answered),
                 [](std::exception_ptr thrown) {
                   if (thrown) std::rethrow_exception(thrown);
                 });
  loop.run();
  CHECK(answered == kConnections);
}

}  // namespace
}  // namespace kata::agent_client
