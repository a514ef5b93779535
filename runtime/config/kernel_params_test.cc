#include "runtime/config/kernel_params.h"

#include <catch2/catch.hpp>

namespace kata::config {
namespace {

TEST_CASE("parameters that are said anew replace those of their name") {
  CHECK(merge_kernel_params("quiet a=1 b=2 a=3", "a=9 c").value() == "quiet b=2 a=9 c");
  CHECK(merge_kernel_params("  quiet   x ", " ").value() == "quiet x");
  CHECK(merge_kernel_params("", "a=1 a=2").value() == "a=1 a=2");
  CHECK(merge_kernel_params("ab=1", "a=1").value() == "ab=1 a=1");
}

TEST_CASE("blanks between quotes separate nothing") {
  CHECK(merge_kernel_params(R"(dyndbg="file a +p" x)", "x=1").value() ==
        R"(dyndbg="file a +p" x=1)");
  CHECK(merge_kernel_params(R"(a="x y=1")", "y=2").value() == R"(a="x y=1" y=2)");
  CHECK(merge_kernel_params("x", R"(a="b)").error().message() == "must not leave a quote open");
}

}  // namespace
}  // namespace kata::config
