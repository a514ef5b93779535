#include "runtime/sandbox/state.h"

#include <csignal>
#include <fstream>

#include <catch2/catch.hpp>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/sys/pidfd.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::sandbox {
namespace {

namespace fs = std::filesystem;

struct RunDir {
  RunDir() { fs::create_directory(path); }
  fakes::TemporaryDirectory root;
  fs::path path = root.path() / "key";
};

TEST_CASE("state survives a round trip and is private") {
  RunDir dir;
  State state;
  state.sandbox_id = "pod";
  state.nspace = "k8s.io";
  state.vm.pid = 12;
  state.vm.pid_start_time = 34;
  state.vm.libvirt_uri = "qemu:///embed";
  state.helpers.push_back({56, 78});
  REQUIRE(save_state(dir.path, state).has_value());
  CHECK((fs::status(dir.path / "state.json").permissions() & fs::perms::all) ==
        (fs::perms::owner_read | fs::perms::owner_write));
  auto loaded = load_state(dir.path);
  REQUIRE(loaded.has_value());
  CHECK(loaded->sandbox_id == "pod");
  CHECK(loaded->nspace == "k8s.io");
  CHECK(loaded->vm.pid == 12);
  CHECK(loaded->vm.pid_start_time == 34);
  CHECK(loaded->vm.libvirt_uri == "qemu:///embed");
  REQUIRE(loaded->helpers.size() == 1);
  CHECK(loaded->helpers[0].start_time == 78);
}

TEST_CASE("a state file that is missing or garbage has its code") {
  RunDir dir;
  CHECK(load_state(dir.path).error().code() == Code::kNotFound);
  for (const char* garbage : {"", "{", "[]", R"({"sandbox_id": 3})"}) {
    std::ofstream(dir.path / "state.json") << garbage;
    CHECK(load_state(dir.path).error().code() == Code::kFailedPrecondition);
  }
}

TEST_CASE("the directory key tells its three parts apart") {
  CHECK(run_dir_key("a", "b", "c").size() == 16);
  CHECK(run_dir_key("a", "b", "c") != run_dir_key("a", "bc", ""));
  CHECK(run_dir_key("a", "b", "c") != run_dir_key("a/b", "", "c"));
  CHECK(run_dir_key("a", "b", "c") == run_dir_key("a", "b", "c"));
}

TEST_CASE("leftovers: processes end, mounts go, a reused pid is spared, twice is harmless") {
  RunDir dir;
  auto spawn = [] {
    pid_t pid = fork();
    if (pid == 0) {
      pause();
      _exit(0);
    }
    return pid;
  };
  pid_t ours = spawn();
  pid_t stranger = spawn();
  State state;
  state.vm.pid = ours;
  state.vm.pid_start_time = *sys::process_start_time(ours);
  state.helpers.push_back({stranger, *sys::process_start_time(stranger) + 1});
  REQUIRE(save_state(dir.path, state).has_value());
  fs::create_directories(dir.path / "shared/c/rootfs");
  bool mounted = mount("none", (dir.path / "shared/c/rootfs").c_str(), "tmpfs", 0, nullptr) == 0;
  if (mounted) std::ofstream(dir.path / "shared/c/rootfs/file") << "content";
  if (!mounted) WARN("no right to mount here: the unmounting is not covered");

  REQUIRE(remove_leftovers(dir.path).has_value());
  CHECK_FALSE(fs::exists(dir.path));
  int status = 0;
  CHECK(waitpid(ours, &status, 0) == ours);
  CHECK(WIFSIGNALED(status));
  CHECK(kill(stranger, 0) == 0);
  kill(stranger, SIGKILL);
  waitpid(stranger, &status, 0);
  CHECK(remove_leftovers(dir.path).has_value());
}

TEST_CASE("leftovers with an unreadable state are removed all the same") {
  RunDir dir;
  std::ofstream(dir.path / "state.json") << "{";
  REQUIRE(remove_leftovers(dir.path).has_value());
  CHECK_FALSE(fs::exists(dir.path));
}

}  // namespace
}  // namespace kata::sandbox
