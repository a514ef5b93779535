#include "agent/isolation/device_filter.h"

#include <algorithm>

#include <catch2/catch.hpp>
#include <linux/bpf.h>

namespace kata::isolation {
namespace {

using Exception = DeviceAccess::Exception;

constexpr uint32_t kRead = BPF_DEVCG_ACC_READ;
constexpr uint32_t kWrite = BPF_DEVCG_ACC_WRITE;
constexpr uint32_t kMake = BPF_DEVCG_ACC_MKNOD;

oci::DeviceRule rule(bool allow, std::string type, std::string access,
                     std::optional<int64_t> major = {}, std::optional<int64_t> minor = {}) {
  oci::DeviceRule out;
  out.allow = allow;
  out.type = std::move(type);
  out.access = std::move(access);
  out.major = major;
  out.minor = minor;
  return out;
}

DeviceAccess access_of(const std::vector<oci::DeviceRule>& rules) {
  const auto access = device_access(rules);
  REQUIRE(access);
  return *access;
}

bool has(const DeviceAccess& access, const Exception& exception) {
  return std::ranges::find(access.exceptions, exception) != access.exceptions.end();
}

TEST_CASE("what every container may do") {
  for (const auto& access :
       {access_of({}), access_of({rule(false, "a", "rwm")}), access_of({rule(false, "", "rwm")})}) {
    CHECK_FALSE(access.allowed);
    CHECK(access.exceptions.size() == 11);
    CHECK(has(access, {'b', {}, {}, kMake}));
    CHECK(has(access, {'c', 1, 3, kRead | kWrite | kMake}));
  }
}

TEST_CASE("a rule for all devices forgets what was said before it") {
  const auto all = access_of({rule(true, "c", "rwm", 1, 11), rule(true, "a", "rwm")});
  CHECK(all.allowed);
  CHECK(all.exceptions.empty());
  const auto none = access_of({rule(true, "c", "rwm", 1, 11), rule(false, "a", "rwm")});
  CHECK_FALSE(has(none, {'c', 1, 11, kRead | kWrite | kMake}));
}

TEST_CASE("later rules add to earlier ones and take from them") {
  const auto access = access_of({rule(true, "b", "r", 8, -1), rule(true, "b", "w", 8),
                                 rule(true, "c", "rw", 10, 229), rule(false, "c", "w", 10, 229),
                                 rule(true, "c", "r", 4, 64), rule(false, "c", "r", 4, 64),
                                 rule(true, "c", "", 4, 65)});
  CHECK(has(access, {'b', 8, {}, kRead | kWrite}));
  CHECK(has(access, {'c', 10, 229, kRead}));
  CHECK(access.exceptions.size() == 11 + 2);
}

TEST_CASE("of all that is allowed, some is not") {
  const auto access = access_of(
      {rule(true, "a", "rwm"), rule(false, "b", "rw", 254), rule(false, "c", "rwm", 1, 3)});
  CHECK(access.allowed);
  // The defaults come last: they give null back.
  CHECK(access.exceptions == std::vector<Exception>{{'b', 254, {}, kRead | kWrite}});
}

TEST_CASE("rules for more devices than anybody has are refused") {
  std::vector<oci::DeviceRule> rules;
  for (int64_t i = 0; i <= 4096; ++i) rules.push_back(rule(true, "c", "r", 8, i));
  const auto access = device_access(rules);
  REQUIRE_FALSE(access);
  CHECK(access.error().code() == Code::kInvalidArgument);
}

TEST_CASE("numbers that no device has") {
  CHECK(device_access({rule(true, "c", "r", 4096)}).error().code() == Code::kInvalidArgument);
  CHECK(device_access({rule(true, "c", "r", 1, 1 << 20)}).error().code() == Code::kInvalidArgument);
  CHECK(device_access({rule(true, "c", "r", -2)}).error().code() == Code::kInvalidArgument);
}

}  // namespace
}  // namespace kata::isolation
