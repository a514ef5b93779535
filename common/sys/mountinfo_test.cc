#include "common/sys/mountinfo.h"

#include <fstream>

#include <catch2/catch.hpp>

#include "tests/fakes/temporary_directory.h"

namespace kata::sys {
namespace {

std::vector<MountInfo> mounts_of(const char* text) {
  const fakes::TemporaryDirectory directory;
  const auto file = directory.path() / "mountinfo";
  std::ofstream(file) << text;
  return read_mounts(file).value();
}

TEST_CASE("lines of mountinfo") {
  const auto mounts = mounts_of(
      "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n"
      "no line\n37 36 0:5 / /a\\040b\\134c ro - tmpfs none rw\n38 x 0:5 / /a rw - tmpfs none rw\n"
      "39 36 0:5 / /a rw shared:1");
  REQUIRE(mounts.size() == 2);
  CHECK(mounts[0].id == 36);
  CHECK(mounts[0].parent == 35);
  CHECK(mounts[0].device == "98:0");
  CHECK(mounts[0].root == "/mnt1");
  CHECK(mounts[0].mount_point == "/mnt2");
  CHECK(mounts[0].options == "rw,noatime");
  CHECK(mounts[0].propagation == "master:1 shared:2");
  CHECK(mounts[0].type == "ext3");
  CHECK(mounts[0].super_options == "rw,errors=continue");
  CHECK(mounts[1].mount_point == "/a b\\c");
  CHECK(mounts[1].propagation.empty());
}

TEST_CASE("what is below a directory of a mount") {
  const auto mounts = mounts_of(
      "5 4 0:9 / /data/sub/deep rw - tmpfs none rw\n"
      "1 1 0:1 / / rw - ext4 none rw\n"
      "2 1 0:2 / /data rw - tmpfs none rw\n"
      "3 1 0:3 / /database rw - tmpfs none rw\n"
      "4 2 0:4 / /data/sub rw - tmpfs none rw\n");
  const auto ids = [&](uint64_t mount, const char* directory) {
    std::string out;
    for (const MountInfo* one : mounts_below(mounts, mount, directory))
      out += std::to_string(one->id) + " ";
    return out;
  };
  CHECK(ids(2, "/data") == "4 5 ");
  CHECK(ids(2, "/data/other").empty());
  CHECK(ids(1, "/data") == "2 4 5 ");
  CHECK(ids(1, "/") == "2 3 4 5 ");
  CHECK(ids(9, "/").empty());
}

TEST_CASE("paths below a directory") {
  CHECK(is_at_or_below("/a/b", "/a"));
  CHECK(is_at_or_below("/a", "/a"));
  CHECK(is_at_or_below("/a", "/"));
  CHECK_FALSE(is_at_or_below("/ab", "/a"));
  CHECK_FALSE(is_at_or_below("/", "/a"));
}

TEST_CASE("this process's mounts have a root") {
  const auto mounts = read_mounts();
  REQUIRE(mounts);
  CHECK(std::any_of(mounts->begin(), mounts->end(),
                    [](const MountInfo& mount) { return mount.mount_point == "/"; }));
}

}  // namespace
}  // namespace kata::sys
