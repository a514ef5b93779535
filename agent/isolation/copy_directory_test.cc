#include "agent/isolation/copy_directory.h"

#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/isolation/test_container.h"
#include "common/base/unique_fd.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::isolation {

namespace {

namespace fs = std::filesystem;

struct TwoDirectories {
  TwoDirectories() {
    fs::create_directories(from);
    fs::create_directories(to);
    fs::create_directories(base / "outside");
    std::ofstream(base / "outside/secret") << "secret";
  }

  Status copy() const {
    UniqueFd source(::open(from.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    UniqueFd target(::open(to.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return copy_directory(source.get(), target.get(), "/data");
  }

  fakes::TemporaryDirectory directory;
  fs::path base = directory.path();
  fs::path from = base / "from";
  fs::path to = base / "to";
};

struct stat stat_of(const fs::path& path) {
  struct stat info {};
  REQUIRE(::lstat(path.c_str(), &info) == 0);
  return info;
}

std::string content(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void set_times(const fs::path& path, time_t seconds) {
  const timespec times[2] = {{seconds, 11}, {seconds, 22}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
}

}  // namespace

TEST_CASE_METHOD(TwoDirectories, "a copy has everything of each kind of file") {
  std::ofstream(from / "file") << "content";
  REQUIRE(::chown((from / "file").c_str(), 7, 8) == 0);
  REQUIRE(::chmod((from / "file").c_str(), 06751) == 0);
  set_times(from / "file", 1'000'000);
  fs::create_directories(from / "d/deep");
  std::ofstream(from / "d/deep/er") << "deep";
  REQUIRE(::chmod((from / "d").c_str(), 01770) == 0);
  REQUIRE(::chown((from / "d").c_str(), 9, 10) == 0);
  set_times(from / "d", 2'000'000);
  fs::create_symlink("../outside/secret", from / "link");
  REQUIRE(::lchown((from / "link").c_str(), 3, 4) == 0);
  REQUIRE(::mkfifo((from / "fifo").c_str(), 0640) == 0);
  REQUIRE(::mknod((from / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0);
  fs::create_hard_link(from / "d/deep/er", from / "again");
  REQUIRE(::chmod(from.c_str(), 0711) == 0);
  REQUIRE(::chown(from.c_str(), 5, 6) == 0);
  set_times(from, 3'000'000);

  auto copied = copy();
  if (!copied) FAIL(copied.error().message());

  auto file = stat_of(to / "file");
  CHECK(content(to / "file") == "content");
  CHECK((file.st_mode & 07777) == 06751);
  CHECK(file.st_uid == 7);
  CHECK(file.st_gid == 8);
  CHECK(file.st_mtim.tv_sec == 1'000'000);
  CHECK(file.st_mtim.tv_nsec == 22);
  auto inner = stat_of(to / "d");
  CHECK((inner.st_mode & 07777) == 01770);
  CHECK(inner.st_uid == 9);
  CHECK(inner.st_mtim.tv_sec == 2'000'000);
  CHECK(fs::read_symlink(to / "link") == "../outside/secret");
  CHECK(stat_of(to / "link").st_uid == 3);
  CHECK(S_ISFIFO(stat_of(to / "fifo").st_mode));
  CHECK((stat_of(to / "fifo").st_mode & 07777) == 0640);
  CHECK(stat_of(to / "null").st_rdev == makedev(1, 3));
  CHECK(content(to / "again") == "deep");
  CHECK(stat_of(to / "again").st_ino == stat_of(to / "d/deep/er").st_ino);
  auto top = stat_of(to);
  CHECK((top.st_mode & 07777) == 0711);
  CHECK(top.st_uid == 5);
  CHECK(top.st_mtim.tv_sec == 3'000'000);
}

TEST_CASE_METHOD(TwoDirectories, "holes stay holes, what is in between is copied") {
  constexpr off_t kFarOff = off_t{1} << 32;
  UniqueFd file(::open((from / "sparse").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  REQUIRE(::pwrite(file.get(), "begin", 5, 0) == 5);
  REQUIRE(::pwrite(file.get(), "middle", 6, kFarOff) == 6);
  REQUIRE(::ftruncate(file.get(), 2 * kFarOff) == 0);
  REQUIRE(copy());
  auto info = stat_of(to / "sparse");
  CHECK(info.st_size == 2 * kFarOff);
  CHECK(info.st_blocks < 1000);
  UniqueFd made(::open((to / "sparse").c_str(), O_RDONLY | O_CLOEXEC));
  std::string text(6, '\0');
  REQUIRE(::pread(made.get(), text.data(), 6, kFarOff) == 6);
  CHECK(text == "middle");
  REQUIRE(::pread(made.get(), text.data(), 6, 0) == 6);
  CHECK(text == std::string("begin\0", 6));
}

TEST_CASE_METHOD(TwoDirectories, "capabilities of a file survive the change of its owner") {
  std::ofstream(from / "ping") << "x";
  REQUIRE(::chown((from / "ping").c_str(), 1000, 1000) == 0);
  // VFS_CAP_REVISION_2 with CAP_NET_RAW, effective.
  const unsigned char capability[20] = {1, 0, 0, 2, 0, 0x20};
  REQUIRE(::setxattr((from / "ping").c_str(), "security.capability", capability, 20, 0) == 0);
  REQUIRE(copy());
  unsigned char copied[20] = {};
  REQUIRE(::getxattr((to / "ping").c_str(), "security.capability", copied, 20) == 20);
  CHECK(std::equal(copied, copied + 20, capability));
}

TEST_CASE_METHOD(TwoDirectories, "trees that are too much") {
  SECTION("deep") {
    auto path = from;
    for (size_t i = 0; i <= kMaxCopyDepth; ++i) path /= "d";
    fs::create_directories(path);
    auto copied = copy();
    REQUIRE_FALSE(copied.has_value());
    CHECK(copied.error().message().starts_with("tmpcopyup: /data/d/d"));
    CHECK(copied.error().message().find("nested deeper than") != std::string::npos);
  }
  SECTION("as deep as can be") {
    auto path = from;
    for (size_t i = 1; i < kMaxCopyDepth; ++i) path /= "d";
    fs::create_directories(path);
    CHECK(copy());
  }
}

TEST_CASE_METHOD(TwoDirectories, "an error names the path") {
  std::ofstream(from / "file") << "x";
  std::ofstream(to / "file") << "in the way";
  auto copied = copy();
  REQUIRE_FALSE(copied.has_value());
  CHECK(copied.error().message() == "tmpcopyup: create /data/file: file exists");
}

TEST_CASE("a tmpfs begins with what it hides") {
  testing::TestContainer container;
  auto data = container.rootfs() / "data";
  fs::create_directories(data / "inner");
  std::ofstream(data / "file") << "text\n";
  fs::create_symlink("/etc/passwd", data / "link");
  REQUIRE(::chown(data.c_str(), 12, 13) == 0);
  container.spec["mounts"].push_back({{"destination", "/data"},
                                      {"type", "tmpfs"},
                                      {"source", "tmpfs"},
                                      {"options", {"tmpcopyup", "ro"}}});
  container.script(
      "cat /data/file; readlink /data/link; stat -c '%u %g' /data; touch /data/x 2>&1");
  auto outcome = container.run();
  CHECK(outcome.error == "");
  CHECK(outcome.output == "text\n/etc/passwd\n12 13\ntouch: /data/x: Read-only file system\n");
}

}  // namespace kata::isolation
