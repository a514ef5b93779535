// Real hooks, run by busybox.
#include "runtime/sandbox/hooks.h"

#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "tests/fakes/temporary_directory.h"

namespace kata::sandbox {
namespace {

namespace fs = std::filesystem;

oci::Hook script(const std::string& text) {
  oci::Hook hook;
  hook.path = "/bin/busybox";
  hook.args = {"sh", "-c", text};
  return hook;
}

std::string content(const fs::path& file) {
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

struct Fixture {
  HookCall call(std::vector<oci::Hook> hooks) {
    HookCall call;
    call.kind = "createRuntime";
    call.hooks = std::move(hooks);
    call.state.id = "c1";
    call.state.status = oci::kCreating;
    call.state.pid = 42;
    call.state.bundle = bundle;
    return call;
  }
  Status run(std::vector<oci::Hook> hooks) {
    HookRunner runner(loop.get_executor(), host);
    Status result;
    asio::co_spawn(loop, runner.run(call(std::move(hooks))),
                   [&](std::exception_ptr, Status ran) { result = ran; });
    loop.restart();
    loop.run();
    return result;
  }

  asio::io_context loop;
  fakes::TemporaryDirectory directory;
  fs::path bundle = directory.path();
  HostNamespaces host;
};

TEST_CASE("hooks run in order, with state, arguments, environment and working directory",
          "[process]") {
  Fixture fixture;
  oci::Hook first = script("cat > state; env > environment; echo $PPID > parent; echo 1 >> order");
  first.env = {"A=b", "EMPTY="};
  REQUIRE(
      fixture.run({first, script("echo 2 >> order; ls -l /proc/self/fd | wc -l > descriptors")}));
  CHECK(content(fixture.bundle / "order") == "1\n2\n");
  CHECK(content(fixture.bundle / "state") ==
        fmt::format(
            R"({{"ociVersion":"1.2.1","id":"c1","status":"creating","pid":42,"bundle":"{}"}})",
            fixture.bundle.native()));
  // The shell adds its own.
  CHECK(content(fixture.bundle / "environment").find("A=b\n") != std::string::npos);
  CHECK(content(fixture.bundle / "environment").find("HOME=") == std::string::npos);
  CHECK(content(fixture.bundle / "parent") == fmt::format("{}\n", getpid()));
  // "total", 0, 1, 2 and the one of the directory.
  CHECK(content(fixture.bundle / "descriptors") == "5\n");
}

TEST_CASE("the first hook that fails ends the call, by its name", "[process]") {
  Fixture fixture;
  auto ran = fixture.run(
      {script("true"), script("echo out; echo why >&2; exit 3"), script("echo > never")});
  REQUIRE_FALSE(ran);
  CHECK(ran.error().message() ==
        "error running createRuntime hook #1 (/bin/busybox): exited with status 3: out\nwhy");
  CHECK_FALSE(fs::exists(fixture.bundle / "never"));

  ran = fixture.run({script("kill -TERM $$")});
  REQUIRE_FALSE(ran);
  CHECK(ran.error().message().ends_with("killed by signal 15 (Terminated)"));

  oci::Hook missing;
  missing.path = "/no/such/hook";
  ran = fixture.run({missing});
  REQUIRE_FALSE(ran);
  CHECK(ran.error().code() == Code::kNotFound);
  CHECK(ran.error().message().starts_with(
      "error running createRuntime hook #0 (/no/such/hook): exec of /no/such/hook: "));
}

TEST_CASE("a hook that runs past its timeout is killed with what it has started", "[process]") {
  Fixture fixture;
  oci::Hook slow = script("sleep 1000 & echo $! > child; echo tired; sleep 1000");
  slow.timeout_s = 1;
  const auto began = std::chrono::steady_clock::now();
  auto ran = fixture.run({slow});
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(60));
  REQUIRE_FALSE(ran);
  CHECK(ran.error().code() == Code::kDeadlineExceeded);
  CHECK(ran.error().message() ==
        "error running createRuntime hook #0 (/bin/busybox): ran past its 1 s: tired");
  const pid_t child = std::stoi(content(fixture.bundle / "child"));
  // Until whoever adopts orphans has reaped it.
  while (::kill(child, 0) == 0 && !sys::is_exiting(child)) std::this_thread::yield();

  oci::Hook quick = script("true");
  quick.timeout_s = 1000;
  CHECK(fixture.run({quick}));
}

TEST_CASE("what a hook leaves behind does not hold it up", "[process]") {
  Fixture fixture;
  REQUIRE(fixture.run({script("sleep 1000 & echo $! > child")}));
  const pid_t child = std::stoi(content(fixture.bundle / "child"));
  CHECK(::kill(child, SIGKILL) == 0);
}

TEST_CASE("hooks that run are killed with their sandbox", "[process]") {
  Fixture fixture;
  HookRunner runner(fixture.loop.get_executor(), {});
  std::optional<Status> result;
  asio::co_spawn(fixture.loop, runner.run(fixture.call({script("sleep 1000"), script("true")})),
                 [&](std::exception_ptr, Status ran) { result = ran; });
  fixture.loop.poll();
  CHECK_FALSE(result.has_value());
  runner.kill_all();
  fixture.loop.run();
  REQUIRE(result.has_value());
  REQUIRE_FALSE(*result);
  CHECK(result->error().code() == Code::kCancelled);
}

TEST_CASE("hooks run in the host's namespaces", "[process]") {
  Fixture fixture;
  UniqueFd mounts(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  UniqueFd network(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  fixture.host = {.mount = mounts.get(), .network = network.get()};
  const oci::Hook links = script("for n in mnt net; do readlink /proc/self/ns/$n; done > links");
  const std::string expected =
      fmt::format("{}\n{}\n", fs::read_symlink("/proc/self/ns/mnt").native(),
                  fs::read_symlink("/proc/self/ns/net").native());
  // As the shim does; hooks have to be run by the thread that is elsewhere.
  Status ran;
  std::thread elsewhere([&] {
    REQUIRE(unshare(CLONE_NEWNS | CLONE_NEWNET) == 0);
    ran = fixture.run({links});
  });
  elsewhere.join();
  REQUIRE(ran);
  CHECK(content(fixture.bundle / "links") == expected);
}

TEST_CASE("failures of last hooks hold up neither the next one nor the caller", "[process]") {
  Fixture fixture;
  HookRunner runner(fixture.loop.get_executor(), {});
  asio::co_spawn(fixture.loop,
                 runner.run_and_log(fixture.call({script("false"), script("echo > second")})),
                 asio::detached);
  fixture.loop.run();
  CHECK(fs::exists(fixture.bundle / "second"));
}

TEST_CASE("poststop hooks of a container whose shim has gone run once", "[process]") {
  Fixture fixture;
  std::ofstream(fixture.bundle / "config.json") << R"({"ociVersion": "1.0.2",
    "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"}, "annotations": {"k": "v"},
    "hooks": {"poststop": [{"path": "/bin/busybox", "args": ["sh", "-c", "cat >> stopped"]}]}})";
  auto run = [&] {
    asio::co_spawn(fixture.loop, run_noted_poststop(fixture.bundle, "c1"), asio::detached);
    fixture.loop.restart();
    fixture.loop.run();
  };
  run();
  CHECK_FALSE(fs::exists(fixture.bundle / "stopped"));
  REQUIRE(note_poststop(fixture.bundle));
  run();
  const std::string expected = fmt::format(
      R"({{"ociVersion":"1.2.1","id":"c1","status":"stopped","bundle":"{}","annotations":{{"k":"v"}}}})",
      fixture.bundle.native());
  CHECK(content(fixture.bundle / "stopped") == expected);
  run();
  CHECK(content(fixture.bundle / "stopped") == expected);
}

}  // namespace
}  // namespace kata::sandbox
