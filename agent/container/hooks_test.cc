// Hooks in the container's namespaces, by the real init: needs root and cgroup v2.
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <signal.h>

#include "agent/testing/containers.h"

namespace kata::container {
namespace {

using nlohmann::json;

struct Fixture : testing::Containers {
  CreateRequest with_hooks(const std::string& id, const json& hooks,
                           const std::vector<std::string>& args = {"true"}) {
    auto wanted = request(id, args, testing::kOutput);
    json spec = json::parse(wanted.spec_json);
    spec["hooks"] = hooks;
    spec["root"]["path"] = "rootfs";
    wanted.spec_json = spec.dump();
    wanted.bundle = std::filesystem::path(rootfs).parent_path() / ("bundle-" + id);
    return wanted;
  }
  std::string run(const CreateRequest& request) {
    auto container = must_create(request);
    UniqueFd out = guest.connect(container->ports().out);
    if (auto started = container->start(); !started) FAIL(started.error().message());
    std::string output = testing::read_all(out.get());
    testing::wait_for_end(*container);
    REQUIRE(container->remove());
    return output;
  }
};

json hook(const std::string& text, const std::string& path = "/bin/busybox") {
  return {{"path", path}, {"args", {"sh", "-c", text}}};
}

TEST_CASE("createContainer hooks run before the root is the container's, in it, as pid 1's child") {
  Fixture fixture;
  auto request = fixture.with_hooks(
      "agent-t-hook-c",
      {{"createContainer",
        json::array({hook("cat > etc/state; echo > etc/newline; pwd > etc/pwd; "
                          "echo $PPID > etc/parent; busybox hostname > etc/name"),
                     hook("busybox wc -l < dev/null > etc/second")})}},
      {"sh", "-c", "cat /etc/state /etc/newline /etc/parent /etc/name /etc/second"});
  json spec = json::parse(request.spec_json);
  for (json& each : spec["hooks"]["createContainer"]) each["env"] = {"PATH=/bin", "A=b"};
  spec["annotations"] = {{"k", "v"}};
  request.spec_json = spec.dump();
  CHECK(fixture.run(request) ==
        R"({"ociVersion":"1.2.1","id":"agent-t-hook-c","status":"creating","pid":1,"bundle":")" +
            request.bundle + R"(","annotations":{"k":"v"}})" + "\n1\nguest\n0\n");
  std::string line;
  std::getline(std::ifstream(fixture.rootfs + "/etc/pwd"), line);
  CHECK(line == fixture.rootfs);
  CHECK_FALSE(std::filesystem::exists(request.bundle));
}

TEST_CASE("createContainer hooks find the bundle at the host's path, programs where they are") {
  Fixture fixture;
  auto request = fixture.with_hooks(
      "agent-t-hook-b",
      {{"createContainer",
        json::array(
            {hook("cd \"$0\" && /bin/busybox grep -c ociVersion config.json > rootfs/etc/found",
                  "/no/such/program")})}},
      {"cat", "/etc/found"});
  json spec = json::parse(request.spec_json);
  spec["hooks"]["createContainer"][0]["args"].push_back(request.bundle);
  request.spec_json = spec.dump();
  request.hook_programs = {{"/no/such/program", "/bin/busybox"}};
  CHECK(fixture.run(request) == "1\n");
  CHECK_FALSE(std::filesystem::exists(request.bundle));
}

TEST_CASE("startContainer hooks run as the process does, right before it") {
  Fixture fixture;
  auto request = fixture.with_hooks(
      "agent-t-hook-s",
      {{"startContainer",
        json::array({hook("cat > /tmp/state; echo >> /tmp/state; id -u >> /tmp/state; "
                          "mkdir /tmp/forbidden 2>> /tmp/state || true",
                          "/bin/sh")})}},
      {"cat", "/tmp/state"});
  json spec = json::parse(request.spec_json);
  spec["process"]["user"] = {{"uid", 1234}, {"gid", 1234}};
  spec["linux"]["seccomp"] = {
      {"defaultAction", "SCMP_ACT_ALLOW"},
      {"syscalls", {{{"names", {"mkdir", "mkdirat"}}, {"action", "SCMP_ACT_ERRNO"}}}}};
  request.spec_json = spec.dump();
  std::filesystem::permissions(fixture.rootfs + "/tmp", std::filesystem::perms(0777));
  auto container = fixture.must_create(request);
  CHECK_FALSE(std::filesystem::exists(fixture.rootfs + "/tmp/state"));
  UniqueFd out = fixture.guest.connect(container->ports().out);
  if (auto started = container->start(); !started) FAIL(started.error().message());
  const std::string output = testing::read_all(out.get());
  CHECK(output ==
        R"({"ociVersion":"1.2.1","id":"agent-t-hook-s","status":"created","pid":1,"bundle":")" +
            request.bundle + "\"}\n1234\nmkdir: can't create directory '/tmp/forbidden': " +
            "Operation not permitted\n");
}

TEST_CASE("a hook that fails ends the create or the start, and nothing is left") {
  Fixture fixture;
  struct Case {
    std::string kind;
    json hook;
    Code code;
    std::string says;
  };
  const std::string prefix = "unable to start container process: error running ";
  const std::vector<Case> cases = {
      {"createContainer", hook("echo out; echo why >&2; exit 3"), Code::kAborted,
       "createContainer hook #0 (/bin/busybox): exited with status 3: out\nwhy"},
      {"createContainer",
       {{"path", "/no/such/hook"}},
       Code::kNotFound,
       "createContainer hook #0 (/no/such/hook): no such file or directory"},
      {"createContainer",
       {{"path", "/etc/passwd"}},
       Code::kPermissionDenied,
       "createContainer hook #0 (/etc/passwd): permission denied"},
      {"startContainer", hook("echo why; exit 3", "/bin/sh"), Code::kAborted,
       "startContainer hook #0 (/bin/sh): exited with status 3: why"},
      {"startContainer",
       {{"path", "/bin/bad"}},
       Code::kNotFound,
       "startContainer hook #0 (/bin/bad): no such file or directory (it is there: its "
       "interpreter or loader is not)"},
      {"startContainer",
       {{"path", "/bin/sh"},
        {"args", {"sh", "-c", "sleep 1000 & echo tired; sleep 1000"}},
        {"timeout", 1}},
       Code::kDeadlineExceeded,
       "startContainer hook #0 (/bin/sh): ran past its 1 s: tired"},
  };
  std::ofstream(fixture.rootfs + "/bin/bad") << "#!/no/such/interpreter\n";
  std::filesystem::permissions(fixture.rootfs + "/bin/bad", std::filesystem::perms(0755));
  for (const Case& failing : cases) {
    auto request =
        fixture.with_hooks("agent-t-hook-f", {{failing.kind, json::array({failing.hook})}});
    INFO(failing.says);
    const bool at_create = failing.kind == "createContainer";
    auto container = fixture.create(request);
    CHECK(container.has_value() != at_create);
    Status result;
    if (container)
      result = (*container)->start();
    else
      result = std::unexpected(container.error());
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == failing.code);
    CHECK(result.error().message() == prefix + failing.says);
    if (container) {
      CHECK(testing::wait_for_end(**container).status == 255);
      REQUIRE((*container)->remove());
    }
    CHECK_FALSE(fixture.has_cgroup("agent-t-hook-f"));
    CHECK_FALSE(std::filesystem::exists(request.bundle));
  }
}

TEST_CASE("a start that waits for a hook can be killed") {
  Fixture fixture;
  auto container = fixture.must_create(fixture.with_hooks(
      "agent-t-hook-k", {{"startContainer", json::array({hook("sleep 1000", "/bin/sh")})}}));
  Status started;
  std::thread starting([&] { started = container->start(); });
  while (container->pids().value_or(std::vector<pid_t>()).size() < 2) std::this_thread::yield();
  CHECK(container->signal(SIGKILL, false));
  starting.join();
  CHECK_FALSE(started);
  CHECK(testing::wait_for_end(*container).status == 128 + SIGKILL);
  CHECK(container->remove());
}

}  // namespace
}  // namespace kata::container
