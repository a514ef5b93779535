#include "runtime/hypervisor/preflight.h"

#include <fstream>

#include <catch2/catch.hpp>

#include "tests/fakes/temporary_directory.h"

namespace kata::hypervisor {
namespace {

TEST_CASE("huge pages that the host has, and has not promised to anybody") {
  const fakes::TemporaryDirectory pages;
  const auto check = [&](uint64_t memory_mib, int free, int reserved) {
    std::ofstream(pages.path() / "free_hugepages") << free << "\n";
    std::ofstream(pages.path() / "resv_hugepages") << reserved << "\n";
    return check_hugepages(memory_mib, pages.path());
  };
  CHECK(check(256, 128, 0));
  CHECK(check(256, 138, 10));
  const Status too_few = check(256, 137, 10);
  REQUIRE_FALSE(too_few);
  CHECK(too_few.error().code() == Code::kResourceExhausted);
  CHECK(too_few.error().message().find("wants 128 huge pages of 2 MiB, the host has 127 free: "
                                       "raise " +
                                       (pages.path() / "nr_hugepages").native()) !=
        std::string::npos);
  CHECK(check(256, 5, 10).error().message().find("has 0 free") != std::string::npos);
  CHECK(check(257, 1000, 0).error().code() == Code::kInvalidArgument);
  CHECK(check_hugepages(256, pages.path() / "missing").error().code() == Code::kNotFound);
}

}  // namespace
}  // namespace kata::hypervisor
