// Execs in real containers on the machine that runs the tests: needs root and cgroup v2.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/container/exec_process.h"
#include "agent/testing/containers.h"

namespace kata::container {
namespace {

using nlohmann::json;
using Fixture = testing::Containers;
using testing::kOutput;
using testing::make_process;
using testing::must_create_exec;
using testing::run_exec;
using testing::wait_for_end;

constexpr std::chrono::seconds kCloseDeadline{10};

json shell(const std::string& script) { return make_process({"sh", "-c", script}); }

TEST_CASE("An exec runs in the container's namespaces and control group") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-x-run");
  auto outcome = run_exec(
      fixture, *container,
      shell("for n in cgroup ipc mnt pid uts; do a=$(readlink /proc/1/ns/$n); "
            "b=$(readlink /proc/self/ns/$n); [ \"$a\" = \"$b\" ] || echo $n differs; done; "
            "cat /proc/sys/kernel/hostname; cat /proc/1/cmdline; cat /proc/self/cgroup; exit 42"));
  CHECK(outcome.status == 42);
  CHECK(outcome.output.starts_with(std::string("guest\nsleep\0001000\0", 17)));
  CHECK(outcome.output.ends_with("0::/\n"));
}

TEST_CASE("An exec takes user, groups, cwd, environment and limits of its own process") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-x-process");
  json process = shell(
      "id -u; id -g; id -G; pwd; echo $HOME $A; ulimit -n; cat /proc/self/oom_score_adj; "
      "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; umask");
  process["user"] = {{"uid", 1234}, {"gid", 1235}, {"additionalGids", {7}}, {"umask", 027}};
  process["cwd"] = "/tmp";
  process["env"] = {"PATH=/bin", "A=b"};
  process["noNewPrivileges"] = true;
  process["oomScoreAdj"] = 321;
  process["capabilities"] = {{"bounding", {"CAP_CHOWN"}}};
  process["rlimits"] = {{{"type", "RLIMIT_NOFILE"}, {"soft", 99}, {"hard", 100}}};
  auto outcome = run_exec(fixture, *container, process);
  CHECK(outcome.output ==
        "1234\n1235\n1235 7\n/tmp\n/ b\n99\n321\n"
        "CapEff:\t0000000000000000\nCapBnd:\t0000000000000001\nNoNewPrivs:\t1\n0027\n");
}

TEST_CASE("What an exec leaves open is as for the init") {
  Fixture fixture;
  auto request = fixture.request("agent-x-inherit", {"sleep", "1000"});
  json spec = json::parse(request.spec_json);
  spec["process"]["oomScoreAdj"] = 123;
  spec["process"]["rlimits"] = {{{"type", "RLIMIT_NOFILE"}, {"soft", 77}, {"hard", 88}}};
  spec["process"]["capabilities"] = {{"bounding", {"CAP_CHOWN", "CAP_KILL"}}};
  request.spec_json = spec.dump();
  auto container = fixture.must_create(request);
  REQUIRE(container->start());
  auto outcome = run_exec(fixture, *container,
                          shell("cat /proc/self/oom_score_adj; ulimit -n; "
                                "grep CapBnd /proc/self/status"));
  CHECK(outcome.output == "123\n77\nCapBnd:\t0000000000000021\n");
}

TEST_CASE("An exec has no descriptor of the agent's") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-x-fds");
  auto outcome =
      run_exec(fixture, *container, shell("for f in /proc/self/fd/*; do echo ${f##*/}; done"));
  CHECK(outcome.output.starts_with("0\n1\n2\n"));
  // The shell's own directory descriptor may be listed as well, nothing else.
  CHECK(std::count(outcome.output.begin(), outcome.output.end(), '\n') <= 4);
}

TEST_CASE("Stdin, stdout and stderr of an exec are its own") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-x-stdio");
  auto exec = must_create_exec(*container, "io", shell("cat; echo error >&2"), {true, true, true});
  UniqueFd in = fixture.guest.connect(exec->ports().in);
  UniqueFd out = fixture.guest.connect(exec->ports().out);
  UniqueFd err = fixture.guest.connect(exec->ports().err);
  REQUIRE(container->start("io"));
  REQUIRE(write(in.get(), "input", 5) == 5);
  shutdown(in.get(), SHUT_WR);
  CHECK(testing::read_all(out.get()) == "input");
  CHECK(testing::read_all(err.get()) == "error\n");
  CHECK(wait_for_end(*exec).status == 0);
}

TEST_CASE("Errors of an exec's program say what runc says") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-x-errors");
  const std::string stage = "unable to start container process: ";
  auto refused = [&](const json& process) {
    auto created = container->create_exec({"e", process.dump(), {}});
    REQUIRE_FALSE(created);
    CHECK(container->process("e").error().code() == Code::kNotFound);
    return created.error();
  };
  CHECK(refused(make_process({"nosuch"})) ==
        Error(Code::kNotFound, stage + R"(exec: "nosuch": executable file not found in $PATH)"));
  CHECK(refused(make_process({"/etc"})) ==
        Error(Code::kPermissionDenied, stage + R"(exec: "/etc": permission denied)"));
  json process = make_process({"true"});
  process["cwd"] = "/nosuch";
  CHECK(refused(process) ==
        Error(Code::kNotFound, stage + "chdir to cwd (\"/nosuch\") set in config.json failed: no "
                                       "such file or directory"));
  process["cwd"] = "relative";
  CHECK(refused(process).code() == Code::kInvalidArgument);
  CHECK(refused(json::array()).code() == Code::kInvalidArgument);

  std::ofstream(fixture.rootfs + "/bin/garbage") << "no program";
  std::filesystem::permissions(fixture.rootfs + "/bin/garbage", std::filesystem::perms(0755));
  auto exec = must_create_exec(*container, "e", make_process({"garbage"}));
  auto started = container->start("e");
  REQUIRE_FALSE(started);
  CHECK(started.error().message() == stage + "exec /bin/garbage: exec format error");
  CHECK(wait_for_end(*exec).status == 255);
  CHECK(container->remove_exec("e"));
}

TEST_CASE("Ids of execs") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-x-ids");
  CHECK(container->create_exec({"../x", make_process({"true"}).dump(), {}}).error().code() ==
        Code::kInvalidArgument);
  CHECK(container->start("nosuch").error().code() == Code::kNotFound);
  CHECK(container->signal(SIGKILL, false, "nosuch").error().code() == Code::kNotFound);
  CHECK(container->remove_exec("nosuch").error().code() == Code::kNotFound);
  auto exec = must_create_exec(*container, "one", make_process({"sleep", "1000"}));
  auto again = container->create_exec({"one", make_process({"true"}).dump(), {}});
  CHECK(again.error().code() == Code::kAlreadyExists);
  REQUIRE(container->start("one"));
  CHECK(container->start("one").error().code() == Code::kFailedPrecondition);
  CHECK(container->remove_exec("one").error().code() == Code::kFailedPrecondition);
  REQUIRE(container->signal(SIGTERM, false, "one"));
  CHECK(wait_for_end(*exec).status == 128 + SIGTERM);
  CHECK(container->signal(SIGKILL, false, "one").error().code() == Code::kNotFound);
  REQUIRE(container->remove_exec("one"));
  CHECK(container->process("one").error().code() == Code::kNotFound);
  CHECK(run_exec(fixture, *container, make_process({"true"}), "one").status == 0);
}

TEST_CASE("An exec that never started is killed by its deletion") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-x-created");
  auto exec = must_create_exec(*container, "e", make_process({"true"}), kOutput);
  UniqueFd out = fixture.guest.connect(exec->ports().out);
  REQUIRE(container->remove_exec("e"));
  CHECK(wait_for_end(*exec).status == 128 + SIGKILL);
  CHECK(testing::read_all(out.get()).empty());
  CHECK(container->pids()->size() == 1);
}

TEST_CASE("An exec's end is reported though its children live; deletion ends their outputs") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-x-children");
  auto exec = must_create_exec(*container, "e", shell("sleep 1000 & echo started"), kOutput);
  UniqueFd out = fixture.guest.connect(exec->ports().out);
  REQUIRE(container->start("e"));
  CHECK(wait_for_end(*exec).status == 0);
  char text[64] = {};
  REQUIRE(read(out.get(), text, sizeof text) == 8);
  pollfd quiet{out.get(), POLLIN, 0};
  CHECK(poll(&quiet, 1, 100) == 0);
  REQUIRE(container->remove_exec("e"));
  CHECK(testing::read_all(out.get()).empty());
  CHECK(container->pids()->size() == 2);
}

TEST_CASE("The end of the init ends the execs, and none can follow") {
  Fixture fixture;
  auto request = fixture.request("agent-x-init", {"sleep", "1000"});
  json spec = json::parse(request.spec_json);
  SECTION("with a pid namespace") {}
  SECTION("without one") { spec["linux"]["namespaces"].erase(0); }
  request.spec_json = spec.dump();
  auto container = fixture.must_create(request);
  REQUIRE(container->start());
  auto exec = must_create_exec(*container, "e", make_process({"sleep", "1000"}), kOutput);
  UniqueFd out = fixture.guest.connect(exec->ports().out);
  REQUIRE(container->start("e"));
  REQUIRE(container->signal(SIGKILL, false));
  CHECK(wait_for_end(*exec).status == 128 + SIGKILL);
  CHECK(testing::read_all(out.get()).empty());
  wait_for_end(*container);
  auto late = container->create_exec({"late", make_process({"true"}).dump(), {}});
  CHECK(late.error() == Error(Code::kFailedPrecondition, "cannot exec in a stopped container"));
  REQUIRE(container->remove());
  CHECK(container->process("e").error().code() == Code::kNotFound);
}

TEST_CASE("Execs while the init ends: made or refused as in a stopped container") {
  Fixture fixture;
  for (int round = 0; round < 10; ++round) {
    auto container = fixture.sleeper("agent-x-race");
    auto killer = std::async(std::launch::async, [&] { return container->signal(SIGKILL, false); });
    for (int i = 0; i < 100; ++i) {
      auto id = "e" + std::to_string(i);
      auto exec = container->create_exec({id, make_process({"true"}).dump(), {}});
      if (exec) continue;
      INFO(exec.error().message());
      CHECK(exec.error() == Error(Code::kFailedPrecondition, "cannot exec in a stopped container"));
      break;
    }
    CHECK(killer.get());
    wait_for_end(*container);
    REQUIRE(container->remove());
  }
}

TEST_CASE("Eight execs at once, and nothing left after two hundred") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-x-many");
  auto open_files = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  auto children = [] {
    std::string all;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream file(task.path() / "children");
      for (std::string pid; file >> pid;) all += pid + " ";
    }
    return all;
  };
  auto round = [&](int count) {
    std::vector<std::future<std::string>> runs;
    for (int thread = 0; thread < 8; ++thread) {
      runs.push_back(std::async(std::launch::async, [&, thread] {
        for (int i = 0; i < count; ++i) {
          auto id = "e" + std::to_string(thread);
          auto exec = container->create_exec({id, shell("echo $0").dump(), kOutput});
          if (!exec) return exec.error().message();
          UniqueFd out = fixture.guest.connect((*exec)->ports().out);
          if (auto started = container->start(id); !started) return started.error().message();
          if (testing::read_all(out.get()) != "sh\n") return std::string("output");
          if (wait_for_end(**exec).status != 0) return std::string("status");
          if (auto removed = container->remove_exec(id); !removed) return removed.error().message();
        }
        return std::string();
      }));
    }
    for (auto& run : runs) CHECK(run.get() == "");
  };
  round(1);
  // The loop closes the last streams when it comes to them.
  fixture.guest.loop().call([] {});
  auto files_before = open_files();
  auto children_before = children();
  round(25);
  // The host's ends were closed just before: the loop learns of it in one of its next turns.
  const auto deadline = std::chrono::steady_clock::now() + kCloseDeadline;
  while (open_files() > files_before && std::chrono::steady_clock::now() < deadline)
    fixture.guest.loop().call([] {});
  CHECK(open_files() == files_before);
  CHECK(children() == children_before);
  CHECK(container->pids()->size() == 1);
}

TEST_CASE("What a process has of its own is not replaced") {
  oci::Process init;
  init.capabilities.emplace().bounding = {"CAP_KILL"};
  init.rlimits = {{"RLIMIT_CORE", 4, 1, 2}};
  init.oom_score_adj = 5;
  init.apparmor_profile = "profile";
  init.scheduler = oci::Scheduler{"SCHED_RR", 0, 3, {"SCHED_FLAG_RESET_ON_FORK"}, 0, 0, 0};
  init.io_priority = oci::IoPriority{"IOPRIO_CLASS_BE", 6};
  init.exec_cpu_affinity = oci::CpuAffinity{"0", "0-1"};
  auto completed = json::parse(*complete_exec_process(
      R"({"capabilities": {}, "rlimits": [{"type": "RLIMIT_AS"}], "oomScoreAdj": 7,
          "apparmorProfile": "own", "scheduler": {"policy": "SCHED_BATCH"},
          "ioPriority": {"class": "IOPRIO_CLASS_IDLE"}, "execCPUAffinity": {"final": "1"}})",
      init));
  CHECK(completed["capabilities"] == json::object());
  CHECK(completed["rlimits"][0]["type"] == "RLIMIT_AS");
  CHECK(completed["oomScoreAdj"] == 7);
  CHECK(completed["apparmorProfile"] == "own");
  CHECK(completed["scheduler"] == json{{"policy", "SCHED_BATCH"}});
  CHECK(completed["ioPriority"] == json{{"class", "IOPRIO_CLASS_IDLE"}});
  CHECK(completed["execCPUAffinity"] == json{{"final", "1"}});
  completed = json::parse(*complete_exec_process(
      R"({"rlimits": [], "capabilities": null, "apparmorProfile": ""})", init));
  CHECK(completed["capabilities"]["bounding"][0] == "CAP_KILL");
  CHECK(completed["rlimits"][0]["hard"] == 2);
  CHECK(completed["oomScoreAdj"] == 5);
  CHECK(completed["apparmorProfile"] == "profile");
  CHECK_FALSE(completed.contains("selinuxLabel"));
  CHECK(completed["scheduler"]["priority"] == 3);
  CHECK(completed["scheduler"]["flags"][0] == "SCHED_FLAG_RESET_ON_FORK");
  CHECK(completed["ioPriority"]["priority"] == 6);
  CHECK(completed["execCPUAffinity"]["final"] == "0-1");
  CHECK_FALSE(complete_exec_process("{", init));
}

}  // namespace
}  // namespace kata::container
