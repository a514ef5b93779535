#include "runtime/vsock/pacing.h"

#include <thread>

#include <catch2/catch.hpp>

namespace kata::vsock {
namespace {

TEST_CASE("vsock pacing: an interrupt comes for many buffers, or soon") {
  DelayedInterrupt interrupt;
  SECTION("unless nobody wants one") {
    interrupt.published(DelayedInterrupt::kBuffers, false);
    CHECK(!interrupt.due());
    CHECK(!interrupt.is_due());
  }
  SECTION("for many") {
    interrupt.published(1, true);
    interrupt.published(DelayedInterrupt::kBuffers - 1, false);
    CHECK(interrupt.is_due());
  }
  SECTION("soon") {
    const auto before = PaceClock::now();
    interrupt.published(1, true);
    REQUIRE(interrupt.due());
    CHECK(*interrupt.due() >= before + DelayedInterrupt::kDelay);
    std::this_thread::sleep_until(*interrupt.due());
    CHECK(interrupt.is_due());
  }
  interrupt.clear();
  CHECK(!interrupt.is_due());
  CHECK(!interrupt.due());
}

TEST_CASE("vsock pacing: kicks are asked for unless much comes") {
  QueueLook look;
  CHECK(look.wants_kick());
  look.took(QueueLook::kLittleBytes - 1);
  CHECK(look.wants_kick());
  // What came before the last kick does not count.
  look.took(1);
  CHECK(look.wants_kick());
  CHECK(!look.next());

  look.took(QueueLook::kLittleBytes);
  CHECK(!look.wants_kick());
  REQUIRE(look.next());
  std::this_thread::sleep_until(*look.next());
  // Nothing has come meanwhile.
  CHECK(look.wants_kick());
  CHECK(!look.next());
}

TEST_CASE("vsock pacing: the earlier of two times") {
  const auto now = PaceClock::now();
  CHECK(!earlier({}, {}));
  CHECK(earlier(now, {}) == now);
  CHECK(earlier({}, now) == now);
  CHECK(earlier(now + std::chrono::seconds(1), now) == now);
}

}  // namespace
}  // namespace kata::vsock
