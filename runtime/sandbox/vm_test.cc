// A pod's VM for itself: booted, asked and ended whether or not there are containers.
#include <catch2/catch.hpp>

#include "tests/fakes/pod_fixture.h"

namespace kata::sandbox {
namespace {

using fakes::Step;
using std::chrono::seconds;

struct VmFixture : Pod {
  Result<uint32_t> boot() { return run(sandbox->boot("")); }
  void start(const std::string& id) {
    REQUIRE(create(id));
    REQUIRE(run(sandbox->start(id, "")));
  }
  /// What a call answers that is still waiting now.
  template <typename T>
  std::shared_ptr<std::optional<Result<T>>> begin(Async<T> call) {
    auto answer = std::make_shared<std::optional<Result<T>>>();
    asio::co_spawn(loop, std::move(call),
                   [answer](std::exception_ptr, Result<T> result) { *answer = result; });
    settle();
    return answer;
  }
};

TEST_CASE_METHOD(VmFixture, "a VM without a container, which the first one joins") {
  CHECK(run(sandbox->wait_vm()).error().code() == Code::kFailedPrecondition);
  CHECK(run(sandbox->ping()).error().code() == Code::kUnavailable);
  REQUIRE(boot());
  CHECK(script.vms == 1);
  CHECK_FALSE(sandbox->has_containers());
  CHECK(run(sandbox->ping()));
  CHECK(run(sandbox->pod_metrics()) == "metrics of ");
  start("a");
  REQUIRE(boot());
  CHECK(script.vms == 1);
  CHECK(run(sandbox->metrics("a")) == "metrics of a");
  REQUIRE(run(sandbox->kill("a", "", SIGKILL, false)));
  REQUIRE(run(sandbox->remove("a", "")));
  CHECK(script.vms == 1);
  REQUIRE(run(sandbox->shutdown()));
  CHECK(script.nothing_left());
}

TEST_CASE_METHOD(VmFixture, "a guest's clock that is wrong is corrected, once") {
  script.clock_ahead = seconds(GENERATE(-3, 3, 100'000));
  const auto ahead = script.clock_ahead;
  REQUIRE(boot());
  REQUIRE(script.clock_gains.size() == 1);
  CHECK(std::chrono::abs(script.clock_gains.front() + ahead) < seconds(1));
  REQUIRE(run(sandbox->shutdown()));
}

TEST_CASE_METHOD(VmFixture, "a guest's clock that is right is left alone") {
  REQUIRE(boot());
  CHECK(script.clock_gains.empty());
  REQUIRE(run(sandbox->shutdown()));
}

TEST_CASE_METHOD(VmFixture, "a boot that fails leaves nothing, and says why") {
  script.fail_at = Step::kCreateSandbox;
  auto booted = boot();
  REQUIRE_FALSE(booted);
  CHECK(booted.error().code() == Code::kResourceExhausted);
  CHECK_THAT(booted.error().message(), Catch::Contains("set up the guest"));
  CHECK(script.nothing_left());
}

TEST_CASE_METHOD(VmFixture, "stop asks, ends the VM and keeps the containers' records") {
  REQUIRE(boot());
  start("a");
  REQUIRE(create("never-started"));
  auto waiting = begin(sandbox->wait_vm());
  REQUIRE_FALSE(waiting->has_value());
  REQUIRE(run(sandbox->stop(seconds(60))));
  CHECK(script.nothing_left());
  REQUIRE(waiting->has_value());
  CHECK((*waiting)->value().status == 0);
  CHECK(sandbox->state("a", "")->exit.status == 128 + SIGTERM);
  CHECK(sandbox->state("never-started", "")->exit.status == kVmGoneStatus);
  CHECK(events == std::vector<std::string>{"exit a 143", "exit never-started 137"});

  CHECK(boot().error().code() == Code::kFailedPrecondition);
  CHECK(create("late").error().code() == Code::kFailedPrecondition);
  REQUIRE(run(sandbox->stop(seconds(60))));
  CHECK(run(sandbox->remove("a", ""))->exit.status == 128 + SIGTERM);
  CHECK(run(sandbox->remove("never-started", "")));
  CHECK_FALSE(sandbox->has_containers());
  CHECK(run(sandbox->wait_vm())->status == 0);
  REQUIRE(run(sandbox->shutdown()));
}

TEST_CASE_METHOD(VmFixture, "stop kills what does not end in time") {
  start("stubborn");
  script.ignores_sigterm.insert("stubborn");
  REQUIRE(run(sandbox->stop(seconds(0))));
  CHECK(sandbox->state("stubborn", "")->exit.status == kVmGoneStatus);
  CHECK(script.nothing_left());
}

TEST_CASE_METHOD(VmFixture, "a shutdown does not wait for a stop's limit") {
  start("stubborn");
  script.ignores_sigterm.insert("stubborn");
  auto stopped = begin(sandbox->stop(seconds(3600)));
  REQUIRE_FALSE(stopped->has_value());
  REQUIRE(run(sandbox->shutdown()));
  REQUIRE(stopped->has_value());
  CHECK((*stopped)->has_value());
  CHECK(script.nothing_left());
}

TEST_CASE_METHOD(VmFixture, "stop ends a boot under way") {
  script.fail_at = Step::kGuestSilent;
  auto booted = begin(sandbox->boot(""));
  REQUIRE_FALSE(booted->has_value());
  REQUIRE(run(sandbox->stop(seconds(60))));
  REQUIRE(booted->has_value());
  REQUIRE_FALSE((*booted)->has_value());
  CHECK((*booted)->error().code() == Code::kCancelled);
  CHECK(script.nothing_left());
}

TEST_CASE_METHOD(VmFixture, "a VM that ends by itself") {
  REQUIRE(boot());
  start("a");
  auto waiting = begin(sandbox->wait_vm());
  script.end_vm("killed by signal 9");
  settle();
  REQUIRE(waiting->has_value());
  CHECK((*waiting)->value().status == kVmGoneStatus);
  CHECK(events == std::vector<std::string>{"exit a 137"});
  CHECK(run(sandbox->ping()).error().code() == Code::kUnavailable);
  CHECK(create("late").error().code() == Code::kUnavailable);
  REQUIRE(run(sandbox->shutdown()));
  CHECK(script.nothing_left());
}

}  // namespace
}  // namespace kata::sandbox
