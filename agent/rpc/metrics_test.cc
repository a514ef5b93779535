#include "agent/rpc/metrics.h"

#include <limits>
#include <map>

#include <catch2/catch.hpp>

namespace kata::rpc {
namespace {

using Files = std::map<std::string, std::string>;

auto metrics_of(const Files& files) {
  return read_metrics([&](const char* name) -> Result<std::string> {
    auto found = files.find(name);
    if (found == files.end()) return fail(Code::kNotFound, "no {}", name);
    return found->second;
  });
}

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

TEST_CASE("Metrics from all files") {
  auto metrics = metrics_of({
      {"cpu.stat",
       "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 3\nnr_throttled 2\n"
       "throttled_usec 1\ncore_sched.force_idle_usec 7\n"},
      {"memory.stat", "anon 1\nfile 2\nthp_collapse_alloc 31\npgfault 18\nanon_thp 10\n"},
      {"memory.current", "100\n"},
      {"memory.max", "max\n"},
      {"memory.peak", "200\n"},
      {"memory.swap.current", "0\n"},
      {"memory.swap.max", "4096\n"},
      {"memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n"},
      {"pids.current", "7\n"},
      {"pids.max", "max\n"},
      {"hugetlb.2MB.current", "2097152\n"},
      {"hugetlb.2MB.max", "4194304\n"},
      {"hugetlb.1GB.current", "0\n"},
      {"hugetlb.1GB.max", "max\n"},
      {"io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:16 rbytes=9\n"},
  });
  CHECK(metrics.cpu().usage_usec() == 9);
  CHECK(metrics.cpu().throttled_usec() == 1);
  CHECK(metrics.memory().anon() == 1);
  CHECK(metrics.memory().thp_collapse_alloc() == 31);
  CHECK(metrics.memory().usage() == 100);
  CHECK(metrics.memory().usage_limit() == kMax);
  CHECK(metrics.memory().max_usage() == 200);
  CHECK(metrics.memory().swap_limit() == 4096);
  CHECK(metrics.memory_events().oom_kill() == 5);
  CHECK(metrics.pids().current() == 7);
  CHECK(metrics.pids().limit() == kMax);
  REQUIRE(metrics.io().usage_size() == 2);
  CHECK(metrics.io().usage(0).major() == 8);
  CHECK(metrics.io().usage(0).wios() == 4);
  CHECK(metrics.io().usage(1).minor() == 16);
  CHECK(metrics.io().usage(1).rbytes() == 9);
  REQUIRE(metrics.hugetlb_size() == 2);
  CHECK(metrics.hugetlb(0).pagesize() == "2MB");
  CHECK(metrics.hugetlb(0).current() == 2097152);
  CHECK(metrics.hugetlb(0).max() == 4194304);
  CHECK(metrics.hugetlb(1).pagesize() == "1GB");
  CHECK(metrics.hugetlb(1).max() == kMax);
}

TEST_CASE("Metrics without controllers, and from lines that make no sense") {
  auto none = metrics_of({});
  CHECK_FALSE(none.has_cpu());
  CHECK_FALSE(none.has_memory());
  CHECK_FALSE(none.has_memory_events());
  CHECK_FALSE(none.has_pids());
  CHECK_FALSE(none.has_io());
  CHECK(none.hugetlb_size() == 0);

  auto odd = metrics_of({
      {"cpu.stat", "usage_usec\nuser_usec 5 6\n\n \nsystem_usec -4\nnr_periods 3"},
      {"memory.current", ""},
      {"hugetlb.2MB.current", "1\n"},
      {"hugetlb.2MB.max", "\n"},
      {"memory.max", "99999999999999999999999\n"},
      {"io.stat", "8 rbytes=1\n:0 rbytes=1\n8:0 rbytes wbytes= =3 rios=x wios=4\nx:y\n"},
  });
  CHECK(odd.cpu().usage_usec() == 0);
  CHECK(odd.cpu().user_usec() == 0);
  CHECK(odd.cpu().nr_periods() == 3);
  CHECK_FALSE(odd.has_memory());
  CHECK(odd.hugetlb_size() == 0);
  REQUIRE(odd.io().usage_size() == 1);
  CHECK(odd.io().usage(0).wios() == 4);
  CHECK(odd.io().usage(0).rbytes() == 0);
}

}  // namespace
}  // namespace kata::rpc
