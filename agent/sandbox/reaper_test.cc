#include "agent/sandbox/reaper.h"

#include <future>

#include <catch2/catch.hpp>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/testing/guest.h"

namespace kata::sandbox {
namespace {

template <typename Action>
uint32_t status_of_child(Reaper& reaper, Action action) {
  std::promise<uint32_t> ended;
  auto spawned = reaper.spawn(
      [&]() -> Result<pid_t> {
        pid_t pid = fork();
        if (pid == 0) {
          action();
          _exit(0);
        }
        return pid;
      },
      [&](uint32_t status) { ended.set_value(status); });
  REQUIRE(spawned);
  return ended.get_future().get();
}

TEST_CASE("Exit codes and signals as a shell has them") {
  testing::Guest guest;
  CHECK(status_of_child(guest.reaper(), [] { _exit(0); }) == 0);
  CHECK(status_of_child(guest.reaper(), [] { _exit(255); }) == 255);
  CHECK(status_of_child(guest.reaper(), [] { raise(SIGKILL); }) == 128 + SIGKILL);
}

TEST_CASE("A child that ends before it is registered is not missed") {
  testing::Guest guest;
  std::promise<uint32_t> ended;
  auto spawned = guest.reaper().spawn(
      []() -> Result<pid_t> {
        pid_t pid = fork();
        if (pid == 0) _exit(7);
        siginfo_t info{};
        waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
        return pid;
      },
      [&](uint32_t status) { ended.set_value(status); });
  REQUIRE(spawned);
  CHECK(ended.get_future().get() == 7);
}

TEST_CASE("A failed spawn passes its error on") {
  testing::Guest guest;
  auto spawned = guest.reaper().spawn(
      []() -> Result<pid_t> { return fail(Code::kResourceExhausted, "no process left"); },
      [](uint32_t) { FAIL("nothing was started"); });
  REQUIRE_FALSE(spawned);
  CHECK(spawned.error().code() == Code::kResourceExhausted);
}

TEST_CASE("Orphans are reaped as well") {
  testing::Guest guest;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  UniqueFd reader(ends[0]), writer(ends[1]);
  // A child whose own child outlives it.
  uint32_t status = status_of_child(guest.reaper(), [&] {
    pid_t orphan = fork();
    if (orphan != 0) {
      static_cast<void>(write(writer.get(), &orphan, sizeof orphan) > 0);
      _exit(0);
    }
    raise(SIGSTOP);
  });
  CHECK(status == 0);
  pid_t orphan = 0;
  REQUIRE(read(reader.get(), &orphan, sizeof orphan) == sizeof orphan);
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, orphan, 0)));
  kill(orphan, SIGKILL);
  pollfd ended{pidfd.get(), POLLIN, 0};
  REQUIRE(poll(&ended, 1, 5000) == 1);
  // The next child's news comes from a round that has collected the orphan as well.
  CHECK(status_of_child(guest.reaper(), [] { _exit(0); }) == 0);
  CHECK(kill(orphan, 0) == -1);
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

}  // namespace
}  // namespace kata::sandbox
