#include "common/sys/scoped_path.h"

#include <atomic>
#include <climits>
#include <filesystem>
#include <fstream>
#include <thread>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fakes/temporary_directory.h"

namespace kata::sys {

namespace {

namespace fs = std::filesystem;

/// <base>/root is the root, <base>/outside must stay as it is.
struct Tree {
  Tree() {
    fs::create_directories(base / "root/etc");
    fs::create_directories(base / "outside");
    std::ofstream(base / "outside/secret") << "secret";
    std::ofstream(base / "root/etc/file") << "inside";
    root.reset(::open((base / "root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }

  void link(const std::string& target, const std::string& name) {
    fs::create_symlink(target, base / "root" / name);
  }
  /// Where the descriptor points, relative to the base.
  std::string where(const UniqueFd& fd) const {
    return fs::read_symlink(fmt::format("/proc/self/fd/{}", fd.get()))
        .lexically_relative(base)
        .string();
  }

  fakes::TemporaryDirectory directory;
  fs::path base = directory.path();
  UniqueFd root;
};

}  // namespace

TEST_CASE_METHOD(Tree, "a path that the kernel would not take makes nothing") {
  std::string deep;
  while (deep.size() < PATH_MAX) deep += "/d";
  auto made = make_dir_in_root(root.get(), deep);
  REQUIRE_FALSE(made);
  CHECK_THAT(made.error().message(), Catch::Matchers::Contains("File name too long"));
  CHECK_FALSE(fs::exists(base / "root/d"));
}

TEST_CASE_METHOD(Tree, "open stays inside the root") {
  auto opens = [&](const char* path) {
    auto fd = open_in_root(root.get(), path, O_PATH);
    return fd ? where(*fd) : std::string(code_name(fd.error().code()));
  };
  CHECK(opens("/etc/file") == "root/etc/file");
  CHECK(opens("etc/file") == "root/etc/file");
  CHECK(opens("/") == "root");
  CHECK(opens("../../../etc/file") == "root/etc/file");
  CHECK(opens("/../outside/secret") == "not found");
  CHECK(opens("") == "not found");
  CHECK(opens("/etc/file/x") == "invalid argument");
  link(base.string() + "/outside", "absolute");
  CHECK(opens("/absolute/secret") == "not found");
  link("../outside", "relative");
  CHECK(opens("/relative/secret") == "not found");
  link("/etc", "good");
  CHECK(opens("/good/file") == "root/etc/file");
  CHECK_FALSE(open_in_root(root.get(), "good", O_PATH | O_NOFOLLOW | O_DIRECTORY).has_value());
}

TEST_CASE("links of /proc are refused") {
  UniqueFd slash(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (const char* path : {"/proc/self/root/etc", "/proc/self/cwd", "/proc/self/fd/0"}) {
    auto fd = open_in_root(slash.get(), path, O_PATH);
    REQUIRE_FALSE(fd.has_value());
    CHECK(fd.error().code() == Code::kInvalidArgument);
    CHECK_FALSE(make_dir_in_root(slash.get(), std::string(path) + "/x").has_value());
  }
}

TEST_CASE_METHOD(Tree, "directories are made inside, through every kind of link") {
  auto makes = [&](const char* path) {
    auto fd = make_dir_in_root(root.get(), path);
    return fd ? where(*fd) : fd.error().message();
  };
  CHECK(makes("/a/b/c") == "root/a/b/c");
  CHECK(makes("/a/b/c") == "root/a/b/c");
  CHECK(makes("/a/./b//d/") == "root/a/b/d");
  CHECK(makes("/a/b/../e") == "root/a/e");
  CHECK(makes("../../x") == "root/x");
  CHECK(makes("/") == "root");
  link(base.string() + "/outside/new", "dangling");
  CHECK(makes("/dangling/x") == "root" + base.string() + "/outside/new/x");
  link("../../../../up", "a/upwards");
  CHECK(makes("/a/upwards") == "root/up");
  link("to2", "to1");
  link("a/../to3", "to2");
  link("/etc", "to3");
  CHECK(makes("/to1/y") == "root/etc/y");
  // ".." after a link is that of the link's target.
  CHECK(makes("/to1/../z") == "root/z");
  CHECK(makes("/etc/file").find("Not a directory") != std::string::npos);
  CHECK(makes("/etc/file/x").find("Not a directory") != std::string::npos);
  link("loop", "loop");
  CHECK(makes("/loop/x").find("Too many levels") != std::string::npos);
  CHECK(makes("/loop").find("Too many levels") != std::string::npos);
  CHECK(std::distance(fs::directory_iterator(base / "outside"), {}) == 1);
}

TEST_CASE_METHOD(Tree, "each step starts where the one before has ended, however deep") {
  // Each half fits into a path, both together do not: a step that started at the root could not say
  // where.
  std::string half;
  constexpr int kDepth = 300;
  for (int i = 0; i < kDepth; ++i) half += "/component-of";
  REQUIRE(half.size() < PATH_MAX);
  REQUIRE(2 * half.size() > PATH_MAX);
  auto first = make_dir_in_root(root.get(), half);
  REQUIRE(first.has_value());
  // Relative to where it is found.
  REQUIRE(::symlinkat(half.c_str() + 1, first->get(), "on") == 0);
  link("." + half + "/on", "all");
  auto made = make_dir_in_root(root.get(), "/all/end");
  if (!made) FAIL(made.error().message());
  struct stat reached;
  struct stat expected;
  REQUIRE(::fstat(made->get(), &reached) == 0);
  auto second = make_dir_in_root(first->get(), half);
  REQUIRE(second.has_value());
  REQUIRE(::fstatat(second->get(), "end", &expected, 0) == 0);
  CHECK(reached.st_ino == expected.st_ino);
}

TEST_CASE_METHOD(Tree, "up again from far down") {
  std::string down;
  std::string up;
  constexpr int kDepth = 300;
  for (int i = 0; i < kDepth; ++i) {
    down += "/d" + std::to_string(i);
    up += "/..";
  }
  auto made = make_dir_in_root(root.get(), down + up + "/../etc/new");
  REQUIRE(made.has_value());
  CHECK(where(*made) == "root/etc/new");
  auto half = make_dir_in_root(root.get(), down + up.substr(0, up.size() - 3) + "/new");
  REQUIRE(half.has_value());
  CHECK(where(*half) == "root/d0/new");
}

TEST_CASE_METHOD(Tree, "files are made inside, and existing ones kept") {
  auto makes = [&](const char* path) {
    auto fd = make_file_in_root(root.get(), path);
    return fd ? where(*fd) : fd.error().message();
  };
  CHECK(makes("/new/dir/file") == "root/new/dir/file");
  CHECK(fs::is_regular_file(base / "root/new/dir/file"));
  CHECK(makes("/etc/file") == "root/etc/file");
  CHECK(fs::file_size(base / "root/etc/file") == 6);
  CHECK(makes("/etc").find("Is a directory") != std::string::npos);
  link("../outside/secret", "escape");
  CHECK(makes("/escape") == "root/outside/secret");
  CHECK(fs::file_size(base / "outside/secret") == 6);
  REQUIRE(::mkfifo((base / "root/fifo").c_str(), 0600) == 0);
  CHECK(makes("/fifo") == "root/fifo");
}

TEST_CASE_METHOD(Tree, "parent and name") {
  link("../outside", "out");
  auto place = make_parent_in_root(root.get(), "/out/sub/name/");
  REQUIRE(place.has_value());
  CHECK(where(place->parent) == "root/outside/sub");
  CHECK(place->name == "name");
  place = make_parent_in_root(root.get(), "plain");
  REQUIRE(place.has_value());
  CHECK(where(place->parent) == "root");
  for (const char* path : {"", "/", "..", "a/..", "a/."})
    CHECK(make_parent_in_root(root.get(), path).error().code() == Code::kInvalidArgument);
}

TEST_CASE_METHOD(Tree, "somebody swaps a directory for a link meanwhile") {
  fs::create_directories(base / "root/swap");
  std::atomic<bool> stop = false;
  std::thread attacker([&] {
    // RENAME_EXCHANGE: at every moment one of the two is there.
    auto here = (base / "root/swap").string();
    auto there = (base / "root/evil").string();
    fs::create_symlink("../outside", there);
    while (!stop) ::renameat2(AT_FDCWD, here.c_str(), AT_FDCWD, there.c_str(), RENAME_EXCHANGE);
  });
  for (int i = 0; i < 2000; ++i) {
    auto made = make_file_in_root(root.get(), fmt::format("/swap/sub{}/file", i % 7));
    if (made) CHECK(where(*made).starts_with("root/"));
  }
  stop = true;
  attacker.join();
  CHECK(std::distance(fs::directory_iterator(base / "outside"), {}) == 1);
}

}  // namespace kata::sys
