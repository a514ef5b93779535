// Real containers on the machine that runs the tests: needs root and cgroup v2.
#include "agent/container/container.h"

#include <filesystem>
#include <fstream>
#include <future>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/testing/containers.h"

namespace kata::container {
namespace {

using nlohmann::json;

using Fixture = testing::Containers;
using testing::kOutput;
using testing::wait_for_end;

/// Creates, starts and waits; returns what it wrote to stdout.
std::string run(Fixture& fixture, const CreateRequest& request, uint32_t expected_status = 0) {
  auto container = fixture.must_create(request);
  UniqueFd out = fixture.guest.connect(container->ports().out);
  auto started = container->start();
  if (!started) FAIL(started.error().message());
  std::string output = testing::read_all(out.get());
  CHECK(wait_for_end(*container).status == expected_status);
  auto removed = container->remove();
  if (!removed) FAIL(removed.error().message());
  return output;
}

TEST_CASE("A container runs, its status comes back, nothing is left") {
  Fixture fixture;
  std::string output = run(
      fixture,
      fixture.request("agent-t-run",
                      {"sh", "-c", "echo $$ $(cat /proc/sys/kernel/hostname); exit 42"}, kOutput),
      42);
  CHECK(output == "1 guest\n");
  CHECK_FALSE(fixture.has_cgroup("agent-t-run"));
}

TEST_CASE("The process gets pipes of its own user's, whatever the agent has open") {
  Fixture fixture;
  auto request = fixture.request("agent-t-fds",
                                 {"sh", "-c",
                                  "echo reopened > /dev/stdout; for f in /proc/self/fd/*; do echo "
                                  "${f##*/}; done; stat -L -c '%F %u' /proc/self/fd/1"},
                                 kOutput);
  json spec = json::parse(request.spec_json);
  spec["process"]["user"] = {{"uid", 1234}, {"gid", 1234}};
  request.spec_json = spec.dump();
  std::string output = run(fixture, request);
  CHECK(output.starts_with("reopened\n0\n1\n2\n"));
  CHECK(output.ends_with("fifo 1234\n"));
  // The shell's own directory descriptor may be listed as well, nothing else.
  CHECK(std::count(output.begin(), output.end(), '\n') <= 6);
}

TEST_CASE("Signals end with 128 + n; a signal to a process that has ended is NotFound") {
  Fixture fixture;
  auto container = fixture.must_create(fixture.request("agent-t-kill", {"sleep", "1000"}));
  REQUIRE(container->start());
  SECTION("to the init") { REQUIRE(container->signal(SIGKILL, false)); }
  SECTION("to all") { REQUIRE(container->signal(SIGKILL, true)); }
  CHECK(wait_for_end(*container).status == 128 + SIGKILL);
  // Any number of waiters, also later.
  CHECK(wait_for_end(*container).status == 128 + SIGKILL);
  auto again = container->signal(SIGKILL, false);
  REQUIRE_FALSE(again);
  CHECK(again.error().code() == Code::kNotFound);
  CHECK_FALSE(container->signal(65, false));
  CHECK(container->remove());
  CHECK(container->remove());
}

TEST_CASE("Calls that the state does not allow are FailedPrecondition") {
  Fixture fixture;
  auto container = fixture.must_create(fixture.request("agent-t-state", {"sleep", "1000"}));
  REQUIRE(container->start());
  auto again = container->start();
  REQUIRE_FALSE(again);
  CHECK(again.error().code() == Code::kFailedPrecondition);
  auto removed = container->remove();
  REQUIRE_FALSE(removed);
  CHECK(removed.error().code() == Code::kFailedPrecondition);
  REQUIRE(container->signal(SIGKILL, false));
  wait_for_end(*container);
  CHECK(container->start().error().code() == Code::kFailedPrecondition);
}

TEST_CASE("A created container can be removed, or killed, without a start") {
  Fixture fixture;
  auto container = fixture.must_create(fixture.request("agent-t-created", {"true"}, kOutput));
  CHECK(container->pids()->size() == 1);
  SECTION("removed") {
    REQUIRE(container->remove());
    CHECK(container->start().error().code() == Code::kFailedPrecondition);
  }
  SECTION("killed") {
    REQUIRE(container->signal(SIGKILL, false));
    CHECK(wait_for_end(*container).status == 128 + SIGKILL);
    CHECK_FALSE(container->start());
    REQUIRE(container->remove());
  }
  CHECK_FALSE(fixture.has_cgroup("agent-t-created"));
}

TEST_CASE("Errors of the first program say what runc says, at the call where runc says it") {
  Fixture fixture;
  std::ofstream(fixture.rootfs + "/bin/garbage") << "no program";
  std::filesystem::permissions(fixture.rootfs + "/bin/garbage", std::filesystem::perms(0755));
  struct Case {
    std::string program;
    Code code;
    std::string message;
  };
  const std::vector<Case> at_create = {
      {"nosuch", Code::kNotFound, R"(exec: "nosuch": executable file not found in $PATH)"},
      {"/bin/nosuch", Code::kNotFound,
       R"(exec: "/bin/nosuch": stat /bin/nosuch: no such file or directory)"},
      {"/etc", Code::kPermissionDenied, R"(exec: "/etc": permission denied)"},
  };
  for (const Case& expected : at_create) {
    INFO(expected.program);
    auto created = fixture.create(fixture.request("agent-t-exec", {expected.program}));
    REQUIRE_FALSE(created);
    CHECK(created.error().code() == expected.code);
    CHECK(created.error().message() == "unable to start container process: " + expected.message);
    CHECK_FALSE(fixture.has_cgroup("agent-t-exec"));
  }
  auto container = fixture.must_create(fixture.request("agent-t-exec", {"garbage"}));
  auto started = container->start();
  REQUIRE_FALSE(started);
  CHECK(started.error().message() ==
        "unable to start container process: exec /bin/garbage: exec format error");
  CHECK(wait_for_end(*container).status == 255);
  CHECK(container->remove());
}

TEST_CASE("Requests that make no sense are refused and leave nothing") {
  Fixture fixture;
  auto request = fixture.request("agent-t-bad", {"true"});
  SECTION("id") { request.id = "../escape"; }
  SECTION("spec that is no JSON") { request.spec_json = "{"; }
  SECTION("spec that is too large") { request.spec_json.append(9 * 1024 * 1024, ' '); }
  SECTION("relative rootfs") { request.rootfs = "rootfs"; }
  auto created = fixture.create(request);
  REQUIRE_FALSE(created);
  CHECK(created.error().code() == Code::kInvalidArgument);
  CHECK_FALSE(fixture.has_cgroup("agent-t-bad"));
}

TEST_CASE("A rootfs that does not exist is refused with its reason") {
  Fixture fixture;
  auto request = fixture.request("agent-t-bad", {"true"});
  request.rootfs = "/nosuch";
  CHECK(fixture.create(request).error().code() == Code::kNotFound);
}

TEST_CASE("A created container ends by the signals that end runc's, with its status") {
  Fixture fixture;
  auto container = fixture.must_create(fixture.request("agent-t-early", {"true"}));
  SECTION("ended") {
    auto number = GENERATE(SIGTERM, SIGINT, SIGHUP, SIGQUIT);
    REQUIRE(container->signal(static_cast<uint32_t>(number), false));
    CHECK(wait_for_end(*container).status == 2);
    CHECK_FALSE(container->start());
  }
  SECTION("and the program starts with all signals as they should be") {
    auto other = fixture.request("agent-t-signals",
                                 {"grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"}, kOutput);
    CHECK(run(fixture, other) ==
          "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
          "SigCgt:\t0000000000000000\n");
  }
  REQUIRE(container->remove());
}

TEST_CASE("Without a pid namespace, the end of the init ends the rest, and so the outputs") {
  Fixture fixture;
  auto request =
      fixture.request("agent-t-nopid", {"sh", "-c", "sleep 1000 & echo started"}, kOutput);
  json spec = json::parse(request.spec_json);
  auto& namespaces = spec["linux"]["namespaces"];
  namespaces.erase(0);
  request.spec_json = spec.dump();
  CHECK(run(fixture, request) == "started\n");
}

TEST_CASE("A container can join another's pid namespace") {
  Fixture fixture;
  auto first = fixture.must_create(fixture.request("agent-t-first", {"sleep", "1000"}));
  REQUIRE(first->start());
  auto request = fixture.request("agent-t-second", {"cat", "/proc/1/cmdline"}, kOutput);
  json spec = json::parse(request.spec_json);
  spec["linux"]["namespaces"][0]["path"] = "/proc/" + std::to_string(first->pid()) + "/ns/pid";
  request.spec_json = spec.dump();
  CHECK(run(fixture, request) == std::string("sleep\0001000\0", 11));
}

TEST_CASE("64 MiB through stdin and stdout") {
  Fixture fixture;
  auto container =
      fixture.must_create(fixture.request("agent-t-cat", {"cat"}, {.in = true, .out = true}));
  UniqueFd in = fixture.guest.connect(container->ports().in);
  UniqueFd out = fixture.guest.connect(container->ports().out);
  REQUIRE(container->start());
  constexpr size_t kChunkBytes = 1024 * 1024;
  constexpr size_t kChunks = 64;
  auto writer = std::async(std::launch::async, [&] {
    for (size_t i = 0; i < kChunks; ++i) {
      std::string chunk(kChunkBytes, static_cast<char>('a' + i % 26));
      for (size_t done = 0; done < chunk.size();) {
        ssize_t put = write(in.get(), chunk.data() + done, chunk.size() - done);
        if (put <= 0) return;
        done += static_cast<size_t>(put);
      }
    }
    shutdown(in.get(), SHUT_WR);
  });
  std::string output = testing::read_all(out.get());
  writer.get();
  REQUIRE(output.size() == kChunks * kChunkBytes);
  bool equal = true;
  for (size_t i = 0; i < output.size(); ++i) {
    equal = equal && output[i] == static_cast<char>('a' + i / kChunkBytes % 26);
  }
  CHECK(equal);
  CHECK(wait_for_end(*container).status == 0);
}

TEST_CASE("Containers come and go side by side") {
  Fixture fixture;
  std::vector<std::future<std::string>> runs;
  for (int i = 0; i < 4; ++i) {
    runs.push_back(std::async(std::launch::async, [&, i] {
      std::string output;
      for (int round = 0; round < 5; ++round) {
        auto request = fixture.request("agent-t-par" + std::to_string(i), {"true"});
        auto container = Container::create(fixture.environment, request);
        if (!container) return container.error().message();
        if (auto started = (*container)->start(); !started) return started.error().message();
        if (wait_for_end(**container).status != 0) return std::string("status");
        if (auto removed = (*container)->remove(); !removed) return removed.error().message();
      }
      return output;
    }));
  }
  for (auto& result : runs) CHECK(result.get() == "");
}

}  // namespace
}  // namespace kata::container
