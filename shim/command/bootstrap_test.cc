#include "shim/command/bootstrap.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace kata::command {
namespace {

constexpr const char* kAddress = "unix:///run/containerd/s/abc";

TEST_CASE("containerd 1.6 and 1.7 get the plain address") {
  CHECK(bootstrap_answer(kAddress, "") == kAddress);
  CHECK(bootstrap_answer(kAddress, "2") == kAddress);
  CHECK(bootstrap_answer(kAddress, "2", 3) == kAddress);
}

TEST_CASE("a newer containerd gets it too, as long as only version 2 is served") {
  CHECK(bootstrap_answer(kAddress, "3", 2) == kAddress);
}

TEST_CASE("version 3 is announced when both sides have it") {
  auto answer = nlohmann::json::parse(bootstrap_answer(kAddress, "4", 3));
  CHECK(answer == nlohmann::json{{"version", 3}, {"address", kAddress}, {"protocol", "ttrpc"}});
}

TEST_CASE("a maximum that is no number counts as none") {
  CHECK(bootstrap_answer(kAddress, "three", 3) == kAddress);
}

}  // namespace
}  // namespace kata::command
