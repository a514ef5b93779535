#include "runtime/hypervisor/qemu_version.h"

#include <catch2/catch.hpp>

namespace kata::hypervisor {
namespace {

TEST_CASE("QEMU's version is read from its first line") {
  const auto version = parse_qemu_version(
      "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c) 2003-2022");
  REQUIRE(version.has_value());
  CHECK(version->major == 7);
  CHECK(version->minor == 2);
  CHECK(version->text == "7.2.22");
  CHECK(parse_qemu_version("QEMU emulator version 10.0.2")->major == 10);
}

TEST_CASE("what is no version is refused") {
  for (const char* output : {"", "QEMU emulator version ", "QEMU emulator version x.y",
                             "QEMU emulator version 7", "bash 5.2"})
    CHECK(parse_qemu_version(output).error().code() == Code::kInvalidArgument);
}

TEST_CASE("7.2 is the floor") {
  CHECK(is_new_enough({.major = 7, .minor = 2, .text = {}}));
  CHECK(is_new_enough({.major = 8, .minor = 0, .text = {}}));
  CHECK_FALSE(is_new_enough({.major = 7, .minor = 1, .text = {}}));
  CHECK_FALSE(is_new_enough({.major = 6, .minor = 9, .text = {}}));
}

}  // namespace
}  // namespace kata::hypervisor
