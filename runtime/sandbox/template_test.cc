// Pods whose VMs continue a template, and what happens when that fails.
#include <catch2/catch.hpp>

#include "tests/fakes/pod_fixture.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::sandbox {
namespace {

using fakes::Step;
using Calls = std::vector<std::string>;

const Calls kMade = {"launch", "detach 0", "save"};
const Calls kContinued = {"launch for restore", "restore", "attach 0 memory share vsock", "resume"};
const Calls kBooted = {"launch"};

Calls operator+(Calls left, const Calls& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

struct Templates {
  Templates() { change_files("first"); }

  std::filesystem::path store() const { return directory.path() / "templates"; }
  void change_files(const std::string& content) {
    std::ofstream(store().native() + ".of") << content;
  }

  /// What the VM of one pod took; it is ended again.
  Calls start_pod(Step fail_at = Step::kNone, bool comes_up = true) {
    Pod pod(store());
    pod.script.fail_at = fail_at;
    CHECK(pod.run(pod.sandbox->boot("")).has_value() == comes_up);
    REQUIRE(pod.run(pod.sandbox->shutdown()));
    CHECK(pod.script.nothing_left());
    return pod.script.vm_calls;
  }

  fakes::TemporaryDirectory directory;
};

TEST_CASE_METHOD(Templates, "the first pod makes the template, all continue it") {
  CHECK(start_pod() == kMade + kContinued);
  CHECK(start_pod() == kContinued);
  change_files("second");
  CHECK(start_pod() == kMade + kContinued);
  CHECK(start_pod() == kContinued);
}

TEST_CASE_METHOD(Templates, "a template that cannot be made: pods boot, and do not try again") {
  // The fakes fail with ResourceExhausted, which passes: only that is tried again.
  CHECK(start_pod(Step::kDetach) == Calls{"launch", "detach 0"} + kBooted);
  CHECK(start_pod(Step::kDetach) == Calls{"launch", "detach 0"} + kBooted);
  // A guest that does not speak our protocol stays what it is.
  CHECK(start_pod(Step::kGuestGarbles, false) == Calls{"launch"} + kBooted);
  CHECK(start_pod() == kBooted);
  change_files("better");
  CHECK(start_pod() == kMade + kContinued);
}

TEST_CASE_METHOD(Templates,
                 "a template that cannot be continued: the pod boots, the next at once") {
  CHECK(start_pod() == kMade + kContinued);
  CHECK(start_pod(Step::kRestore) == Calls{"launch for restore", "restore"} + kBooted);
  CHECK(start_pod(Step::kCloneSilent) == kContinued + kBooted);
  CHECK(start_pod() == kBooted);
  change_files("better");
  CHECK(start_pod() == kMade + kContinued);
}

TEST_CASE_METHOD(Templates, "pods do not wait for another's template") {
  Pod making(store());
  making.script.fail_at = Step::kGuestSilent;
  std::optional<Result<uint32_t>> booted;
  asio::co_spawn(making.loop, making.sandbox->boot(""),
                 [&booted](std::exception_ptr, Result<uint32_t> result) { booted = result; });
  // Until its VM is there; another thread takes the fingerprints.
  while (making.script.vms == 0) making.loop.run_one_for(std::chrono::seconds(10));
  CHECK(start_pod() == kBooted);
  // And one that is shut down meanwhile leaves nothing, not even the word that it failed.
  REQUIRE(making.run(making.sandbox->shutdown()));
  REQUIRE(booted.has_value());
  CHECK_FALSE(booted->has_value());
  CHECK(making.script.nothing_left());
  CHECK(start_pod() == kMade + kContinued);
}

TEST_CASE_METHOD(Templates, "what fails for other reasons says nothing of the template") {
  CHECK(start_pod() == kMade + kContinued);
  CHECK(start_pod(Step::kStartShare, false).empty());
  CHECK(start_pod(Step::kLaunch, false).empty());
  CHECK(start_pod(Step::kShareDies, false) == Calls{"launch for restore", "launch"});
  CHECK(start_pod() == kContinued);
}

TEST_CASE_METHOD(Templates, "a VM that somebody kills says nothing of the template") {
  CHECK(start_pod(Step::kVmKilled) == Calls{"launch", "detach 0"} + kBooted);
  CHECK(start_pod() == kMade + kContinued);
  CHECK(start_pod(Step::kVmKilled) == kContinued + kBooted);
  CHECK(start_pod() == kContinued);
}

}  // namespace
}  // namespace kata::sandbox
