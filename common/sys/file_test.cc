#include "common/sys/file.h"

#include <cstdint>

#include <catch2/catch.hpp>

#include "tests/fakes/temporary_directory.h"

namespace kata::sys {
namespace {

TEST_CASE("numbers of files") {
  const fakes::TemporaryDirectory directory;
  const auto file = directory.path() / "number";
  const auto write = [&](std::string_view text) {
    REQUIRE(write_file_atomically(file, text, 0600));
  };
  write("18446744073709551615\n");
  CHECK(read_number<uint64_t>(file).value() == UINT64_MAX);
  CHECK(read_number<int>(file).error().code() == Code::kInternal);
  write("-999\n");
  CHECK(read_number<int>(file).value() == -999);
  CHECK(read_number<uint64_t>(file).error().code() == Code::kInternal);
  write("\n");
  CHECK(read_number<int>(file).error().code() == Code::kInternal);
  CHECK(read_number<int>(directory.path() / "none").error().code() == Code::kNotFound);
}

}  // namespace
}  // namespace kata::sys
