// On a real cgroup2 hierarchy: /sys/fs/cgroup, or where a hybrid system has it.
#include "agent/isolation/cgroup.h"

#include <fstream>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/isolation/cgroup_resources.h"

namespace kata::isolation {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

fs::path find_root() {
  for (const char* path : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    struct statfs info;
    if (::statfs(path, &info) == 0 && info.f_type == CGROUP2_SUPER_MAGIC) return path;
  }
  return {};
}

/// A process that sleeps until it is killed.
class Sleeper {
 public:
  Sleeper() : pid_(::fork()) {
    if (pid_ == 0)
      for (;;) ::pause();
  }
  ~Sleeper() {
    ::kill(pid_, SIGKILL);
    wait();
  }
  pid_t pid() const { return pid_; }
  void wait() {
    if (!waited_) ::waitpid(pid_, nullptr, 0);
    waited_ = true;
  }

 private:
  pid_t pid_;
  bool waited_ = false;
};

struct OwnRoot {
  OwnRoot() {
    auto root = find_root();
    if (root.empty()) return;
    path = root / fmt::format("kata-test-{}", ::getpid());
    fs::create_directory(path);
  }
  ~OwnRoot() {
    if (path.empty()) return;
    ::rmdir((path / "kata").c_str());
    ::rmdir(path.c_str());
  }
  fs::path path;
};

}  // namespace

TEST_CASE_METHOD(OwnRoot, "life of a control group") {
  if (path.empty()) return;
  auto group = Cgroup::create("container1", path);
  REQUIRE(group.has_value());
  CHECK(group->path() == path / "kata/container1");
  CHECK(Cgroup::create("container1", path).error().code() == Code::kAlreadyExists);
  CHECK(group->pids()->empty());
  CHECK_FALSE(*group->populated());
  CHECK(*group->oom_kills() == 0);

  Sleeper first;
  Sleeper second;
  REQUIRE(group->add(first.pid()));
  // A container that makes groups of its own, and many of them.
  auto deep = group->path();
  for (int i = 0; i < 40; ++i) deep /= "nested";
  fs::create_directories(deep);
  fs::create_directories(group->path() / "sibling/x");
  std::ofstream(deep / "cgroup.procs") << second.pid() << std::flush;
  auto expected = std::vector<pid_t>{first.pid(), second.pid()};
  std::ranges::sort(expected);
  CHECK(*group->pids() == expected);
  CHECK(*group->populated());

  REQUIRE(group->freeze(5s));
  REQUIRE(group->thaw(5s));
  auto busy = group->remove(1ms);
  REQUIRE_FALSE(busy.has_value());
  CHECK(busy.error().code() == Code::kDeadlineExceeded);

  REQUIRE(group->kill());
  REQUIRE(group->remove(5s));
  CHECK_FALSE(fs::exists(path / "kata/container1"));
  CHECK(group->remove(1s));
}

TEST_CASE_METHOD(OwnRoot, "a limit without its controller is named") {
  if (path.empty()) return;
  auto group = Cgroup::create("limited", path);
  REQUIRE(group.has_value());
  oci::Resources resources;
  CHECK(group->apply(resources));
  resources.memory.limit = 64 * 1024 * 1024;
  auto applied = group->apply(resources);
  if (fs::exists(group->path() / "memory.max")) {
    CHECK(applied);
  } else {
    REQUIRE_FALSE(applied.has_value());
    CHECK(applied.error().code() == Code::kFailedPrecondition);
    CHECK(applied.error().message() ==
          "linux.resources.memory.limit: the guest's kernel has no memory controller");
  }
  CHECK(group->remove(1s));
}

TEST_CASE("conversion of the spec's limits, into plain files") {
  fs::path path = fs::temp_directory_path() / fmt::format("kata-cgroup-{}", ::getpid());
  fs::create_directories(path);
  for (const char* name :
       {"memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpu.max", "pids.max"})
    std::ofstream(path / name).flush();
  UniqueFd group(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  auto content = [&](const char* name) {
    std::ifstream file(path / name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  oci::Resources resources;
  SECTION("all of them") {
    resources.memory.limit = 1000;
    resources.memory.reservation = 500;
    resources.memory.swap = 1500;
    resources.cpu.shares = 1024;
    resources.cpu.quota_us = 50000;
    resources.pids_limit = 77;
    REQUIRE(apply_resources(group.get(), resources));
    CHECK(content("memory.max") == "1000");
    CHECK(content("memory.low") == "500");
    CHECK(content("memory.swap.max") == "500");
    CHECK(content("cpu.weight") == "39");
    CHECK(content("cpu.max") == "50000 100000");
    CHECK(content("pids.max") == "77");
  }
  SECTION("unlimited") {
    resources.memory.limit = -1;
    resources.cpu.quota_us = -1;
    resources.cpu.period_us = 20000;
    resources.pids_limit = -1;
    REQUIRE(apply_resources(group.get(), resources));
    CHECK(content("memory.max") == "max");
    CHECK(content("memory.swap.max") == "max");
    CHECK(content("cpu.max") == "max 20000");
    CHECK(content("pids.max") == "max");
  }
  SECTION("less than unlimited is the kernel's to refuse") {
    resources.memory.limit = -2;
    resources.pids_limit = -3;
    REQUIRE(apply_resources(group.get(), resources));
    CHECK(content("memory.max") == "-2");
    CHECK(content("pids.max") == "-3");
  }
  SECTION("what is not named stays") {
    std::ofstream(path / "cpu.max") << "30000 50000\n";
    std::ofstream(path / "memory.max") << "1000\n";
    resources.cpu.quota_us = 10000;
    resources.memory.swap = 1200;
    REQUIRE(apply_resources(group.get(), resources));
    CHECK(content("cpu.max") == "10000 50000\n");
    CHECK(content("memory.swap.max") == "200");
    CHECK(content("memory.max") == "1000\n");
    std::ofstream(path / "cpu.max") << "max 50000\n";
    resources = {};
    resources.cpu.period_us = 20000;
    REQUIRE(apply_resources(group.get(), resources));
    CHECK(content("cpu.max") == "max 20000\n");
    CHECK(content("cpu.weight").empty());
    CHECK(content("pids.max").empty());
  }
  SECTION("swap below memory") {
    resources.memory.limit = 1000;
    resources.memory.swap = 500;
    CHECK(apply_resources(group.get(), resources).error().code() == Code::kInvalidArgument);
  }
  SECTION("swap without memory") {
    resources.memory.swap = 500;
    CHECK(apply_resources(group.get(), resources).error().code() == Code::kInvalidArgument);
  }
  fs::remove_all(path);
}

TEST_CASE("not a cgroup2 file system") {
  auto group = Cgroup::create("x", fs::temp_directory_path());
  REQUIRE_FALSE(group.has_value());
  CHECK(group.error().code() == Code::kFailedPrecondition);
}

}  // namespace kata::isolation
