#include "shim/command/input.h"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/unique_fd.h"

namespace kata::command {
namespace {

Result<std::string> read_back(const std::string& content) {
  UniqueFd file(memfd_create("input", MFD_CLOEXEC));
  REQUIRE(write(file.get(), content.data(), content.size()) ==
          static_cast<ssize_t>(content.size()));
  lseek(file.get(), 0, SEEK_SET);
  return read_input(file.get());
}

TEST_CASE("everything is read, zeros too") {
  std::string content(100'000, '\0');
  content += "end";
  CHECK(read_back(content).value() == content);
}

TEST_CASE("no stdin is an empty one") {
  UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK(read_input(null.get()).value().empty());
  CHECK(read_input(-1).value().empty());
  CHECK(read_back("").value().empty());
}

TEST_CASE("an endless stdin is refused") {
  UniqueFd zero(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  auto refused = read_input(zero.get());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Code::kResourceExhausted);
}

}  // namespace
}  // namespace kata::command
