// The control group of a running container: pause, update, metrics, OOM kills. What needs a memory
// controller is tested where the machine's cgroup v2 hierarchy has one, as in a guest.
#include <array>
#include <charconv>
#include <chrono>
#include <fstream>
#include <future>

#include <catch2/catch.hpp>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "agent/testing/containers.h"

namespace kata::container {
namespace {

using Fixture = testing::Containers;
using testing::must_create_exec;
using testing::wait_for_end;

constexpr uint64_t kMebibyte = 1024 * 1024;
constexpr std::chrono::seconds kProgressDeadline{30};
// A hundred times what the container's loop takes for a turn.
constexpr std::chrono::milliseconds kStandstill{500};

uint64_t number(const Container& container, const char* file) {
  auto text = container.stat_file(file);
  if (!text) FAIL(text.error().message());
  uint64_t value = 0;
  std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

/// The writes to one file, as events.
class WriteWatch {
 public:
  explicit WriteWatch(const std::string& path) : inotify_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    REQUIRE(inotify_add_watch(inotify_.get(), path.c_str(), IN_MODIFY) >= 0);
  }

  /// Whether there is one within `limit`, from now on.
  bool written(std::chrono::milliseconds limit) {
    std::array<char, 4096> past;
    while (read(inotify_.get(), past.data(), past.size()) > 0) {
    }
    pollfd event{.fd = inotify_.get(), .events = POLLIN, .revents = 0};
    return poll(&event, 1, static_cast<int>(limit.count())) == 1;
  }

 private:
  UniqueFd inotify_;
};

TEST_CASE("A paused container stands still, takes no exec, and goes on") {
  Fixture fixture;
  auto container = fixture.must_create(
      fixture.request("agent-t-pause", {"sh", "-c", "while :; do echo x >> /tmp/counter; done"}));
  CHECK(container->pause().error().code() == Code::kFailedPrecondition);
  const std::string counter = fixture.rootfs + "/tmp/counter";
  std::ofstream{counter};
  WriteWatch watch(counter);
  REQUIRE(container->start());
  auto goes_on = [&] { return watch.written(kProgressDeadline); };
  CHECK(goes_on());
  auto process = testing::make_process({"true"}).dump();
  REQUIRE(container->create_exec({"before", process, {}}));
  REQUIRE(container->pause());
  CHECK_FALSE(watch.written(kStandstill));
  REQUIRE(container->pause());
  const Error paused(Code::kFailedPrecondition, "cannot exec in a paused container");
  CHECK(container->create_exec({"e", process, {}}).error() == paused);
  CHECK(container->start("before").error() == paused);
  SECTION("resumed") {
    REQUIRE(container->resume());
    CHECK(goes_on());
    REQUIRE(container->resume());
    REQUIRE(container->start("before"));
    REQUIRE(container->signal(SIGKILL, false));
  }
  SECTION("killed") { REQUIRE(container->signal(SIGKILL, false)); }
  CHECK(wait_for_end(*container).status == 128 + SIGKILL);
  CHECK(container->resume().error().code() == Code::kFailedPrecondition);
  CHECK(container->update("{}").error() ==
        Error(Code::kFailedPrecondition, "cannot update a stopped container"));
  REQUIRE(container->remove());
}

TEST_CASE("An update changes what it names") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-t-update");
  CHECK(container->update("{}"));
  CHECK(container->update("").error().code() == Code::kInvalidArgument);
  CHECK(container->update(R"({"memory": {"limit": "1"}})").error().code() ==
        Code::kInvalidArgument);
  if (!container->stat_file("memory.max")) {
    CHECK(container->update(R"({"memory": {"limit": 33554432}})").error().code() ==
          Code::kFailedPrecondition);
    return;
  }
  REQUIRE(container->update(R"({"memory": {"limit": 33554432}, "pids": {"limit": 100}})"));
  CHECK(number(*container, "memory.max") == 32 * kMebibyte);
  CHECK(number(*container, "pids.max") == 100);
  REQUIRE(container->update(R"({"memory": {"limit": 67108864}, "cpu": {"quota": 50000}})"));
  CHECK(number(*container, "memory.max") == 64 * kMebibyte);
  CHECK(number(*container, "pids.max") == 100);
  CHECK(*container->stat_file("cpu.max") == "50000 100000\n");
  REQUIRE(container->update(R"({"cpu": {"period": 20000}})"));
  CHECK(*container->stat_file("cpu.max") == "50000 20000\n");
  CHECK(number(*container, "memory.current") > 0);
  CHECK(number(*container, "pids.current") == 1);
}

TEST_CASE("OOM kills are counted and told") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-t-oom");
  std::promise<Result<uint64_t>> told;
  container->when_oom(0, [&](Result<uint64_t> kills) { told.set_value(std::move(kills)); });
  auto answer = told.get_future();
  if (container->stat_file("memory.max")) {
    REQUIRE(container->update(R"({"memory": {"limit": 33554432}})"));
    auto exec = must_create_exec(
        *container, "e",
        testing::make_process({"dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"}));
    REQUIRE(container->start("e"));
    auto exit = wait_for_end(*exec);
    CHECK(exit.status == 128 + SIGKILL);
    CHECK(exit.oom_killed);
    CHECK(answer.get() == 1);
    REQUIRE(container->signal(SIGKILL, false));
    wait_for_end(*container);
    REQUIRE(container->remove());
    return;
  }
  CHECK(answer.wait_for(std::chrono::milliseconds(50)) == std::future_status::timeout);
  REQUIRE(container->kill_and_remove());
  CHECK(answer.get().error().code() == Code::kNotFound);
}

}  // namespace
}  // namespace kata::container
