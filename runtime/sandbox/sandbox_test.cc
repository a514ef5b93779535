#include <csignal>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <catch2/catch.hpp>
#include <dirent.h>
#include <fcntl.h>
#include <nlohmann/json.hpp>

#include "tests/fakes/pod_fixture.h"

namespace kata::sandbox {
namespace {

namespace fs = std::filesystem;
using fakes::Step;

int open_descriptors() {
  int count = 0;
  DIR* directory = opendir("/proc/self/fd");
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

TEST_CASE("a container's life, and the VM outlives it") {
  Pod pod;
  REQUIRE(pod.create("c").has_value());
  CHECK(pod.sandbox->state("c", "")->status == ProcessStatus::kCreated);
  REQUIRE(pod.run(pod.sandbox->start("c", "")));
  CHECK(pod.sandbox->state("c", "")->status == ProcessStatus::kRunning);
  CHECK(pod.run(pod.sandbox->remove("c", "")).error().code() == Code::kFailedPrecondition);
  CHECK(pod.run(pod.sandbox->start("c", "")).error().code() == Code::kFailedPrecondition);

  REQUIRE(pod.run(pod.sandbox->kill("c", "", SIGKILL, false)));
  CHECK(pod.run(pod.sandbox->wait("c", ""))->status == 137);
  CHECK(pod.sandbox->state("c", "")->status == ProcessStatus::kStopped);
  CHECK(pod.run(pod.sandbox->kill("c", "", SIGKILL, false)).error().code() == Code::kNotFound);
  CHECK(pod.events == std::vector<std::string>{"exit c 137"});
  CHECK(pod.run(pod.sandbox->remove("c", ""))->exit.status == 137);
  CHECK_FALSE(pod.sandbox->has_containers());
  CHECK(pod.script.guest_containers.empty());
  CHECK(pod.script.vms == 1);

  REQUIRE(pod.create("again").has_value());
  CHECK(pod.script.vms == 1);
  REQUIRE(pod.run(pod.sandbox->shutdown()));
  REQUIRE(pod.run(pod.sandbox->shutdown()));
  CHECK(pod.script.nothing_left());
  CHECK(pod.create("late").error().code() == Code::kFailedPrecondition);
}

TEST_CASE("of two deletes at once one finds nothing") {
  Pod pod;
  REQUIRE(pod.create("c").has_value());
  std::optional<Result<RemovedProcess>> first;
  asio::co_spawn(pod.loop, pod.sandbox->remove("c", ""),
                 [&first](std::exception_ptr, Result<RemovedProcess> result) { first = result; });
  CHECK(pod.run(pod.sandbox->remove("c", "")).error().code() == Code::kNotFound);
  REQUIRE(first.has_value());
  CHECK(first->has_value());
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("an exit is told after its output, unless the VM is gone") {
  Pod pod;
  auto request = pod.request("c");
  auto io = std::make_unique<fakes::FakeIo>();
  sys::Promise<bool> reader(pod.loop.get_executor());
  io->wait_for_reader(reader);
  request.io = std::move(io);
  REQUIRE(pod.run(pod.sandbox->create(std::move(request))).has_value());
  REQUIRE(pod.run(pod.sandbox->start("c", "")));
  pod.script.end_process("c", 3);
  pod.settle();
  CHECK(pod.events.empty());
  CHECK(pod.sandbox->state("c", "")->status == ProcessStatus::kRunning);

  SECTION("the client reads") {
    reader.set(true);
    CHECK(pod.run(pod.sandbox->wait("c", ""))->status == 3);
    CHECK(pod.events == std::vector<std::string>{"exit c 3"});
  }
  SECTION("the VM ends: nobody waits for a reader that may never come") {
    pod.script.end_vm("killed by signal 9");
    CHECK(pod.run(pod.sandbox->wait("c", ""))->status == 137);
    CHECK(pod.events == std::vector<std::string>{"exit c 137"});
    reader.set(true);
  }
  CHECK(pod.run(pod.sandbox->remove("c", "")));
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("whatever step fails, nothing is left and the error names the stage") {
  struct Row {
    Step step;
    Code code;
    const char* text;
    bool vm_stays;  // the VM is up and waits for another container or for shutdown()
  };
  const std::vector<Row> rows = {
      {Step::kOpenVsock, Code::kResourceExhausted, "told to fail", false},
      {Step::kStartShare, Code::kResourceExhausted, "told to fail", false},
      {Step::kOpenLauncher, Code::kResourceExhausted, "told to fail", false},
      {Step::kLaunch, Code::kResourceExhausted, "told to fail", false},
      {Step::kGuestDies, Code::kUnavailable, "QEMU ended before the agent was ready", false},
      {Step::kGuestSilent, Code::kDeadlineExceeded, "did not answer within 1 s", false},
      {Step::kGuestGarbles, Code::kFailedPrecondition, "another protocol", false},
      {Step::kShareDies, Code::kUnavailable, "share: virtiofsd killed by signal 9", false},
      {Step::kCreateSandbox, Code::kResourceExhausted, "set up the guest", false},
      {Step::kOpenStorage, Code::kResourceExhausted, "told to fail", true},
      {Step::kMountRootfs, Code::kResourceExhausted, "told to fail", true},
      {Step::kCreateContainer, Code::kResourceExhausted, "told to fail", true},
      {Step::kDialStdio, Code::kResourceExhausted, "connect stdio", true},
  };
  for (const Row& row : rows) {
    INFO("step " << static_cast<int>(row.step));
    int before = open_descriptors();
    {
      Pod pod;
      pod.script.fail_at = row.step;
      auto created = pod.create("c");
      REQUIRE_FALSE(created.has_value());
      CHECK(created.error().code() == row.code);
      CHECK_THAT(created.error().message(), Catch::Contains(row.text));
      CHECK_FALSE(pod.sandbox->has_containers());
      CHECK(pod.sandbox->state("c", "").error().code() == Code::kNotFound);
      CHECK(pod.script.storages == 0);
      CHECK(pod.script.guest_containers.empty());
      CHECK(pod.script.vms == (row.vm_stays ? 1 : 0));

      // The id is free again, and the next create finds a sandbox that works.
      pod.script.fail_at = Step::kNone;
      CHECK(pod.create("c").has_value());
      REQUIRE(pod.run(pod.sandbox->shutdown()));
      CHECK(pod.script.nothing_left());
    }
    CHECK(open_descriptors() == before);
  }
}

TEST_CASE("a failed start is an error, and the container can be deleted") {
  Pod pod;
  REQUIRE(pod.create("c").has_value());
  pod.script.fail_at = Step::kStart;
  CHECK(pod.run(pod.sandbox->start("c", "")).error().code() == Code::kResourceExhausted);
  pod.script.end_process("c", 127);
  pod.settle();
  CHECK(pod.run(pod.sandbox->remove("c", ""))->exit.status == 127);
  REQUIRE(pod.run(pod.sandbox->shutdown()));
  CHECK(pod.script.nothing_left());
}

TEST_CASE("the exit of a process that ends at once is reported after start has answered") {
  Pod pod;
  pod.script.ends_at_start.insert("c");
  REQUIRE(pod.create("c").has_value());
  auto start_then_note = [](Pod& p) -> Async<void> {
    KATA_CO_CHECK(co_await p.sandbox->start("c", ""));
    p.events.push_back("started");
    co_return Status{};
  };
  REQUIRE(pod.run(start_then_note(pod)).has_value());
  CHECK(pod.events == std::vector<std::string>{"started", "exit c 7"});
  CHECK(pod.sandbox->state("c", "")->status == ProcessStatus::kStopped);
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("two creates at once share one boot, and an id is taken once") {
  Pod pod;
  std::vector<std::string> answers;
  auto create = [](Pod& p, std::string id, std::vector<std::string>& to) -> asio::awaitable<void> {
    CreateContainer request = p.request(id);
    auto created = co_await p.sandbox->create(std::move(request));
    to.push_back(created ? id : std::string(code_name(created.error().code())));
  };
  for (const char* id : {"a", "b", "a"})
    asio::co_spawn(pod.loop, create(pod, id, answers), asio::detached);
  while (answers.size() < 3 && pod.loop.run_one_for(std::chrono::seconds(10)) > 0) {
  }
  std::ranges::sort(answers);
  CHECK(answers == std::vector<std::string>{"a", "already exists", "b"});
  CHECK(pod.script.vms == 1);
  REQUIRE(pod.run(pod.sandbox->shutdown()));
  CHECK(pod.script.nothing_left());
}

TEST_CASE("when QEMU ends every container exits with 137 and calls fail with a reason") {
  Pod pod;
  REQUIRE(pod.create("a").has_value());
  REQUIRE(pod.run(pod.sandbox->start("a", "")));
  pod.script.end_vm("killed by signal 9");
  pod.settle();
  CHECK(pod.events == std::vector<std::string>{"exit a 137"});
  CHECK(pod.sandbox->state("a", "")->exit.status == 137);
  CHECK(pod.run(pod.sandbox->pids("a"))->empty());
  CHECK(pod.run(pod.sandbox->metrics("a")).error().code() == Code::kUnavailable);
  CHECK(pod.run(pod.sandbox->remove("a", ""))->exit.status == 137);
  REQUIRE(pod.run(pod.sandbox->shutdown()));
  CHECK(pod.script.nothing_left());
}

TEST_CASE("shutdown during a boot ends the boot") {
  Pod pod;
  pod.script.fail_at = Step::kGuestSilent;
  std::optional<Result<uint32_t>> created;
  asio::co_spawn(pod.loop, pod.sandbox->create(pod.request("c")),
                 [&created](std::exception_ptr, Result<uint32_t> result) { created = result; });
  pod.settle();
  REQUIRE_FALSE(created.has_value());
  REQUIRE(pod.run(pod.sandbox->shutdown()));
  REQUIRE(created.has_value());
  CHECK_FALSE(created->has_value());
  CHECK(pod.script.nothing_left());
}

TEST_CASE("a bundle without config.json or with a broken one boots no VM") {
  Pod pod;
  fs::remove(pod.root / "bundle/config.json");
  CHECK(pod.create("c").error().code() == Code::kNotFound);
  std::ofstream(pod.root / "bundle/config.json") << "{";
  CHECK(pod.create("c").error().code() == Code::kInvalidArgument);
  CHECK(pod.create("../c").error().code() == Code::kInvalidArgument);
  CHECK(pod.script.nothing_left());
}

TEST_CASE_METHOD(Pod, "the pod's /dev/shm is the guest's, as large as the host's") {
  const std::filesystem::path made = root / "sandboxes/pod";
  std::filesystem::create_directories(made / "shm");
  auto spec = nlohmann::json::parse(kTestConfigJson);
  spec["annotations"] = {{"io.kubernetes.cri.sandbox-id", "pod"}};
  spec["mounts"] = {{{"destination", "/dev/shm"},
                     {"type", "bind"},
                     {"source", (made / "shm").native()},
                     {"options", {"rbind"}}}};
  std::ofstream(root / "bundle/config.json") << spec.dump();
  REQUIRE(create("c"));
  CHECK(script.last_settings.shm_bytes > 0);
  CHECK(nlohmann::json::parse(script.last_spec.oci_json)["mounts"][0]["source"] == "/dev/shm");
  // A volume that has been mounted there instead.
  spec["mounts"][0]["source"] = (root / "bundle").native();
  std::ofstream(root / "bundle/config.json") << spec.dump();
  REQUIRE(create("d"));
  CHECK(nlohmann::json::parse(script.last_spec.oci_json)["mounts"][0]["source"] != "/dev/shm");
  REQUIRE(run(sandbox->shutdown()));
}

}  // namespace
}  // namespace kata::sandbox
