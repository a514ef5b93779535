#include "common/sys/scoped_path.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace kata::sys {

namespace {

namespace fs = std::filesystem;

/// <base>/root is the root, <base>/outside must stay as it is.
struct Tree {
  Tree() {
    std::string pattern = "/tmp/kata-scoped-XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()));
    base = pattern;
    fs::create_directories(base / "root/etc");
    fs::create_directories(base / "outside");
    std::ofstream(base / "outside/secret") << "secret";
    std::ofstream(base / "root/etc/file") << "inside";
    root.reset(::open((base / "root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  ~Tree() { fs::remove_all(base); }

  void link(const std::string& target, const std::string& name) {
    fs::create_symlink(target, base / "root" / name);
  }
  /// Where the descriptor points, relative to the base.
  std::string where(const UniqueFd& fd) const {
    return fs::read_symlink(fmt::format("/proc/self/fd/{}", fd.get()))
        .lexically_relative(base)
        .string();
  }

  fs::path base;
  UniqueFd root;
};

}  // namespace

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
