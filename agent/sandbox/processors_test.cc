#include "agent/sandbox/processors.h"

#include <fstream>

#include <catch2/catch.hpp>

#include "common/sys/file.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kAtOnce{0};

/// What sysfs shows of processors; nobody brings more.
struct Machine {
  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((directory.path() / file).parent_path());
    std::ofstream(directory.path() / file) << text;
  }
  std::string online(int number) const {
    return *sys::read_file(directory.path() / fmt::format("cpu{}/online", number), 16);
  }
  Status use(uint32_t count) const { return use_processors(count, kAtOnce, directory.path()); }

  fakes::TemporaryDirectory directory;
};

TEST_CASE_METHOD(Machine, "processors are switched on, and off when they are too many") {
  write("possible", "0-3\n");
  write("present", "0-2\n");
  write("cpu1/online", "1\n");
  write("cpu2/online", "0\n");
  REQUIRE(use(3));
  CHECK(online(1) == "1\n");
  CHECK(online(2).starts_with("1"));
  REQUIRE(use(2));
  CHECK(online(1) == "1\n");
  CHECK(online(2).starts_with("0"));
}

TEST_CASE_METHOD(Machine, "one that does not come, and one that cannot") {
  write("possible", "0-3\n");
  write("present", "0\n");
  const Status missing = use(2);
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().code() == Code::kNotFound);
  CHECK(missing.error().message() == "1 of 2 processors have come within 0 s");
  CHECK(use(5).error().code() == Code::kInvalidArgument);
  CHECK(use(0).error().code() == Code::kInvalidArgument);
}

}  // namespace
}  // namespace kata::sandbox
