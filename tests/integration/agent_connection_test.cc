// The host's client against a real agent, which runs as an ordinary process ($KATA_AGENT).
#include <cstdlib>
#include <filesystem>

#include <boost/asio/steady_timer.hpp>
#include <catch2/catch.hpp>
#include <sched.h>

#include "common/sys/subprocess.h"
#include "common/sys/unix_socket.h"
#include "runtime/agent_client/grpc_agent.h"

namespace kata::agent_client {
namespace {

namespace fs = std::filesystem;

constexpr int kConnections = 2000;
constexpr std::chrono::seconds kStartLimit{20};

/// The agent has bound its socket when a connection is accepted.
Async<UniqueFd> connect_when_there(fs::path socket) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  const auto deadline = std::chrono::steady_clock::now() + kStartLimit;
  while (true) {
    auto connected = sys::connect_unix(socket);
    if (connected || std::chrono::steady_clock::now() > deadline) co_return connected;
    timer.expires_after(std::chrono::milliseconds(10));
    co_await timer.async_wait(asio::use_awaitable);
  }
}

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

asio::awaitable<void> connect_ask_and_leave(asio::any_io_executor executor, fs::path socket,
                                            int& answered) {
  for (int i = 0; i < kConnections; ++i) {
    auto connected = co_await connect_when_there(socket);
    REQUIRE(connected);
    auto agent = connect(executor, *std::move(connected));
    const auto pong = co_await agent->ping();
    REQUIRE(pong);
    agent.reset();
    ++answered;
  }
}

TEST_CASE("a connection may be dropped as soon as its call is answered") {
  stay_on_one_cpu();
  std::string pattern = "/tmp/kata-agent-it-XXXXXX";
  REQUIRE(mkdtemp(pattern.data()));
  const fs::path socket = fs::path(pattern) / "agent.sock";
  asio::io_context loop;
  sys::SubprocessOptions options;
  options.executable = std::getenv("KATA_AGENT");
  options.arguments = {"--no-init", "--listen", "unix:" + socket.native()};
  auto process = sys::Subprocess::spawn(loop.get_executor(), options);
  REQUIRE(process);
  int answered = 0;
  asio::co_spawn(loop, connect_ask_and_leave(loop.get_executor(), socket, answered),
                 [&](std::exception_ptr thrown) {
                   REQUIRE((*process)->kill(SIGKILL));
                   if (thrown) std::rethrow_exception(thrown);
                 });
  loop.run();
  CHECK(answered == kConnections);
  fs::remove_all(pattern);
}

}  // namespace
}  // namespace kata::agent_client
