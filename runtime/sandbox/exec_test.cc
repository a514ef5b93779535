// Execs, pause and OOM of a sandbox whose parts are fakes.
#include <csignal>

#include <catch2/catch.hpp>

#include "tests/fakes/pod_fixture.h"

namespace kata::sandbox {
namespace {

using fakes::FakeAgent;
using fakes::Step;
using Events = std::vector<std::string>;

/// A pod whose container "c" runs.
struct RunningPod : Pod {
  RunningPod() {
    REQUIRE(create("c").has_value());
    REQUIRE(run(sandbox->start("c", "")));
  }
  ~RunningPod() {
    REQUIRE(run(sandbox->shutdown()));
    CHECK(script.nothing_left());
  }

  Status exec(const std::string& exec_id) {
    ExecProcess request;
    request.container_id = "c";
    request.exec_id = exec_id;
    request.spec_json = "{}";
    request.io = std::make_unique<fakes::FakeIo>();
    return run(sandbox->exec(std::move(request)));
  }
  ProcessState state(const std::string& exec_id) { return sandbox->state("c", exec_id).value(); }
};

TEST_CASE_METHOD(RunningPod, "an exec's life") {
  REQUIRE(exec("e"));
  CHECK(exec("e").error().code() == Code::kAlreadyExists);
  CHECK(exec("../e").error().code() == Code::kInvalidArgument);
  CHECK(state("e").status == ProcessStatus::kCreated);
  CHECK(state("e").pid == 0);
  CHECK(run(sandbox->kill("c", "e", SIGTERM, false)).error().code() == Code::kFailedPrecondition);
  CHECK(script.guest_execs.empty());

  auto started = run(sandbox->start("c", "e"));
  REQUIRE(started.has_value());
  CHECK(*started == FakeAgent::kExecPid);
  CHECK(state("e").status == ProcessStatus::kRunning);
  CHECK(state("e").pid == FakeAgent::kExecPid);
  CHECK(run(sandbox->start("c", "e")).error().code() == Code::kFailedPrecondition);
  CHECK(run(sandbox->remove("c", "e")).error().code() == Code::kFailedPrecondition);
  auto processes = run(sandbox->pids("c")).value();
  REQUIRE(processes.size() == 2);
  CHECK(processes[0].exec_id.empty());
  CHECK(processes[1].exec_id == "e");

  script.end_process("e", 3);
  CHECK(run(sandbox->wait("c", "e"))->status == 3);
  CHECK(events == Events{"exit e 3"});
  CHECK(state("e").status == ProcessStatus::kStopped);
  CHECK(run(sandbox->kill("c", "e", SIGTERM, false)).error().message() ==
        "process already finished");
  CHECK(run(sandbox->remove("c", "e"))->exit.status == 3);
  CHECK(script.guest_execs.empty());
  CHECK(sandbox->state("c", "e").error().code() == Code::kNotFound);
  CHECK(state("").status == ProcessStatus::kRunning);
}

TEST_CASE_METHOD(RunningPod, "an exec that does not start leaves nothing in the guest") {
  REQUIRE(exec("e"));
  script.fail_at = GENERATE(Step::kCreateExec, Step::kDialStdio, Step::kStart);
  CHECK(run(sandbox->start("c", "e")).error().code() == Code::kResourceExhausted);
  CHECK(script.guest_execs.empty());
  CHECK(events.empty());
  CHECK(run(sandbox->remove("c", "e")).has_value());
  script.fail_at = Step::kNone;
  REQUIRE(exec("e"));
  CHECK(run(sandbox->start("c", "e")).has_value());
}

TEST_CASE_METHOD(RunningPod, "an exec that is never started can be deleted") {
  REQUIRE(exec("e"));
  CHECK(run(sandbox->remove("c", "e")).has_value());
  CHECK(events.empty());
}

TEST_CASE_METHOD(RunningPod, "the end of the init is told after those of its execs") {
  REQUIRE(exec("e"));
  REQUIRE(run(sandbox->start("c", "e")).has_value());
  script.end_process("c", 0);
  settle();
  CHECK(events.empty());
  script.end_process("e", 137);
  CHECK(run(sandbox->wait("c", ""))->status == 0);
  CHECK(events == Events{"exit e 137", "exit c 0"});
  CHECK(exec("late").error().message() == "cannot exec in a stopped state");
  CHECK(run(sandbox->pids("c"))->empty());
}

TEST_CASE_METHOD(RunningPod, "execs end with their VM") {
  REQUIRE(exec("e"));
  REQUIRE(run(sandbox->start("c", "e")).has_value());
  script.end_vm("killed by signal 9");
  CHECK(run(sandbox->wait("c", "e"))->status == 137);
  CHECK(events == Events{"exit e 137", "exit c 137"});
  CHECK(run(sandbox->remove("c", "e")).has_value());
}

TEST_CASE_METHOD(RunningPod, "a size asked for before the start is the terminal's first") {
  REQUIRE(exec("e"));
  REQUIRE(run(sandbox->resize("c", "e", 80, 25)));
  CHECK(script.calls.empty());
  REQUIRE(run(sandbox->start("c", "e")).has_value());
  REQUIRE(run(sandbox->resize("c", "e", 100, 30)));
  REQUIRE(run(sandbox->resize("c", "", 10, 5)));
  CHECK(script.calls == Events{"resize e 80x25", "resize e 100x30", "resize  10x5"});
}

TEST_CASE_METHOD(RunningPod, "only SIGKILL of an init ends the VM of a guest that hangs") {
  REQUIRE(exec("e"));
  REQUIRE(run(sandbox->start("c", "e")).has_value());
  script.guest_hangs = true;
  CHECK(run(sandbox->kill("c", "", SIGTERM, false)).error().code() == Code::kDeadlineExceeded);
  CHECK(run(sandbox->kill("c", "e", SIGKILL, false)).error().code() == Code::kDeadlineExceeded);
  CHECK(events.empty());
  CHECK(run(sandbox->kill("c", "", SIGKILL, false)));
  CHECK(run(sandbox->wait("c", ""))->status == 137);
  CHECK(events == Events{"exit e 137", "exit c 137"});
  CHECK(run(sandbox->remove("c", "")).has_value());
}

TEST_CASE_METHOD(RunningPod, "a signal to all is to the container, not to an exec") {
  REQUIRE(exec("e"));
  REQUIRE(run(sandbox->start("c", "e")).has_value());
  CHECK(run(sandbox->kill("c", "e", SIGKILL, true)));
  CHECK(script.calls.empty());
  CHECK(run(sandbox->kill("c", "", SIGKILL, true)));
  CHECK(script.calls == Events{"signal all of c"});
}

TEST_CASE_METHOD(RunningPod, "a resume waits for the pause that is under way") {
  std::optional<Status> paused;
  asio::co_spawn(loop, sandbox->pause("c"),
                 [&paused](std::exception_ptr, Status result) { paused = result; });
  CHECK(run(sandbox->resume("c")));
  REQUIRE(paused.has_value());
  CHECK(paused->has_value());
  CHECK(state("").status == ProcessStatus::kRunning);
  CHECK(script.calls == Events{"pause c", "resume c"});
}

TEST_CASE_METHOD(RunningPod, "a paused container") {
  REQUIRE(run(sandbox->pause("c")));
  CHECK(state("").status == ProcessStatus::kPaused);
  CHECK(run(sandbox->pause("c")).error().message() == "cannot pause a paused container");
  CHECK(exec("e").error().message() == "cannot exec in a paused state");
  REQUIRE(run(sandbox->resume("c")));
  CHECK(state("").status == ProcessStatus::kRunning);
  CHECK(run(sandbox->resume("c")).error().message() == "cannot resume a running process");
  CHECK(script.calls == Events{"pause c", "resume c"});
  REQUIRE(run(sandbox->pause("c")));
  script.end_process("c", 137);
  settle();
  CHECK(state("").status == ProcessStatus::kStopped);
  CHECK(run(sandbox->resume("c")).error().message() == "cannot resume a stopped container");
}

TEST_CASE("OOM kills are told, one event for all that were seen at once") {
  Pod pod;
  pod.script.oom_kills = 2;
  REQUIRE(pod.create("c").has_value());
  REQUIRE(pod.run(pod.sandbox->start("c", "")));
  CHECK(pod.events == Events{"oom c"});
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

}  // namespace
}  // namespace kata::sandbox
