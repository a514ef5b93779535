#include "shim/events/timestamp.h"

#include <limits>

#include <catch2/catch.hpp>

namespace kata::events {
namespace {

using std::chrono::nanoseconds;

std::pair<int64_t, int32_t> timestamp_at(nanoseconds since_epoch) {
  google::protobuf::Timestamp out;
  set_timestamp(out, std::chrono::system_clock::time_point(since_epoch));
  return {out.seconds(), out.nanos()};
}

TEST_CASE("a timestamp's nanoseconds count forward, before the epoch, too") {
  using Parts = std::pair<int64_t, int32_t>;
  CHECK(timestamp_at(nanoseconds(0)) == Parts{0, 0});
  CHECK(timestamp_at(nanoseconds(1'500'000'000)) == Parts{1, 500'000'000});
  CHECK(timestamp_at(nanoseconds(-1)) == Parts{-1, 999'999'999});
  CHECK(timestamp_at(nanoseconds(-2'000'000'000)) == Parts{-2, 0});
}

TEST_CASE("a timestamp of any time that a guest can name") {
  using Limits = std::numeric_limits<int64_t>;
  CHECK(timestamp_at(nanoseconds(Limits::min())) == std::pair(-9'223'372'037L, 145'224'192));
  CHECK(timestamp_at(nanoseconds(Limits::max())) == std::pair(9'223'372'036L, 854'775'807));
}

}  // namespace
}  // namespace kata::events
