#include "agent/storage/fs_group.h"

#include <fstream>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/unique_fd.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kGroup = 4711;

bool can_give() {
  if (geteuid() != 0) WARN("skipped: only root gives files away");
  return geteuid() == 0;
}

struct Tree {
  Tree() {
    fs::create_directories(root / "sub");
    add(root / "file", 0600);
    add(root / "sub" / "program", 04755);
    add(outside, 0600);
    fs::create_symlink(outside, root / "link");
  }
  static void add(const fs::path& path, mode_t mode) {
    std::ofstream(path) << "content";
    REQUIRE(chmod(path.c_str(), mode) == 0);
  }
  static struct stat info(const fs::path& path) {
    struct stat info;
    REQUIRE(lstat(path.c_str(), &info) == 0);
    return info;
  }
  static mode_t mode(const fs::path& path) { return info(path).st_mode & ALLPERMS; }

  fakes::TemporaryDirectory directory;
  fs::path root = directory.path() / "volume";
  fs::path outside = directory.path() / "outside";
};

TEST_CASE_METHOD(Tree, "everything in a volume is its group's, and nothing outside of it") {
  if (!can_give()) return;
  REQUIRE(give_to_group(root, {.id = kGroup}));
  for (const char* path : {".", "file", "sub", "sub/program", "link"})
    CHECK(info(root / path).st_gid == kGroup);
  CHECK(info(root / "file").st_uid == 0);
  CHECK(mode(root) == 02775);
  CHECK(mode(root / "sub") == 02775);
  CHECK(mode(root / "file") == 0660);
  CHECK(mode(root / "sub" / "program") == 04775);
  CHECK(info(outside).st_gid == 0);
  CHECK(mode(outside) == 0600);
}

TEST_CASE_METHOD(Tree, "a volume whose root has the group already") {
  if (!can_give()) return;
  const FsGroup group{.id = kGroup, .only_on_root_mismatch = true};
  REQUIRE(give_to_group(root, group));
  CHECK(info(root / "file").st_gid == kGroup);
  add(root / "later", 0600);
  REQUIRE(lchown((root / "later").c_str(), 0, 0) == 0);
  REQUIRE(give_to_group(root, group));
  CHECK(info(root / "later").st_gid == 0);
  REQUIRE(chmod(root.c_str(), 0755) == 0);
  REQUIRE(give_to_group(root, group));
  CHECK(info(root / "later").st_gid == kGroup);
}

TEST_CASE_METHOD(Tree, "a volume that is too deep") {
  if (!can_give()) return;
  fs::path deep = root;
  for (int i = 0; i < 300; ++i) deep /= "d";
  fs::create_directories(deep);
  REQUIRE(give_to_group(root, {.id = kGroup}));
  CHECK(info(root / "d" / "d").st_gid == kGroup);
  CHECK(info(deep).st_gid == 0);
  CHECK(info(root / "file").st_gid == kGroup);
}

TEST_CASE_METHOD(Tree, "what cannot be given does not keep the rest") {
  if (!can_give()) return;
  // Nobody's, not even root's, to change: immutable (chattr(1)), where the file system knows that.
  UniqueFd fixed(open((root / "file").c_str(), O_RDONLY | O_CLOEXEC));
  int flags = FS_IMMUTABLE_FL;
  if (ioctl(fixed.get(), FS_IOC_SETFLAGS, &flags) != 0) {
    WARN("skipped: this file system has no immutable files");
    return;
  }
  const Status given = give_to_group(root, {.id = kGroup});
  flags = 0;
  CHECK(ioctl(fixed.get(), FS_IOC_SETFLAGS, &flags) == 0);
  CHECK(given);
  CHECK(info(root / "file").st_gid == 0);
  CHECK(info(root / "sub" / "program").st_gid == kGroup);
  CHECK(info(root).st_gid == kGroup);
}

TEST_CASE_METHOD(Tree, "a volume is given once, and another disk's anew") {
  if (!can_give()) return;
  GivenVolumes given;
  CHECK_FALSE(given.give_once("disk1", root / "none", {.id = kGroup}));
  REQUIRE(given.give_once("disk1", root, {.id = kGroup}));
  CHECK(info(root / "file").st_gid == kGroup);
  add(root / "later", 0600);
  REQUIRE(given.give_once("disk1", root, {.id = kGroup}));
  CHECK(mode(root / "later") == 0600);
  REQUIRE(given.give_once("disk2", root, {.id = kGroup}));
  CHECK(mode(root / "later") == 0660);
}

TEST_CASE_METHOD(Tree, "a volume that is no directory") {
  const Status given = give_to_group(directory.path() / "none", {.id = kGroup});
  REQUIRE_FALSE(given);
  CHECK(given.error().code() == Code::kNotFound);
  CHECK_THAT(given.error().message(), Catch::Contains("fsGroup 4711"));
}

}  // namespace
}  // namespace kata::storage
