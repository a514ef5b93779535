#include "shim/command/idle_rule.h"

#include <catch2/catch.hpp>

#include "shim/ttrpc/test_support.h"

namespace kata::command {
namespace {

struct IdleFixture {
  /// Everything that is due by now: with a limit of zero that is any clock that runs.
  void settle() {
    context.restart();
    context.poll();
  }
  asio::io_context context{1};
  bool used = false;
  int idle = 0;
  IdleRule rule{context.get_executor(), std::chrono::milliseconds(0), [this] { return used; },
                [this] { ++idle; }};
};

TEST_CASE_METHOD(IdleFixture, "what nobody uses is idle, once") {
  rule.look();
  CHECK(idle == 0);
  settle();
  CHECK(idle == 1);
  rule.look();
  settle();
  CHECK(idle == 1);
}

TEST_CASE_METHOD(IdleFixture, "use stops the clock") {
  rule.look();
  used = true;
  rule.look();
  settle();
  CHECK(idle == 0);
  used = false;
  rule.look();
  settle();
  CHECK(idle == 1);
}

TEST_CASE_METHOD(IdleFixture, "use that came and went again starts it anew") {
  rule.look();
  used = true;
  rule.look();
  used = false;
  rule.look();
  settle();
  CHECK(idle == 1);
}

TEST_CASE_METHOD(IdleFixture, "what is in use is never idle") {
  used = true;
  rule.look();
  settle();
  CHECK(idle == 0);
}

TEST_CASE("the clock runs for its limit, however often it is looked at") {
  asio::io_context context{1};
  bool idle = false;
  auto begin = std::chrono::steady_clock::now();
  IdleRule rule(
      context.get_executor(), std::chrono::milliseconds(20), [] { return false; },
      [&] { idle = true; });
  rule.look();
  rule.look();
  testing::run_until(context, [&] { return idle; });
  CHECK(std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds(20));
}

TEST_CASE("a rule that is gone is silent") {
  asio::io_context context{1};
  int idle = 0;
  {
    IdleRule rule(
        context.get_executor(), std::chrono::milliseconds(0), [] { return false; },
        [&] { ++idle; });
    rule.look();
  }
  context.poll();
  CHECK(idle == 0);
}

}  // namespace
}  // namespace kata::command
