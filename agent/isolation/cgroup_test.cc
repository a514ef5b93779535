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

namespace {

/// A directory of plain files in place of a control group: what is written into them can be read.
class Files {
 public:
  explicit Files(std::initializer_list<const char*> names)
      : path_(fs::temp_directory_path() / fmt::format("kata-cgroup-{}", ::getpid())) {
    fs::create_directories(path_);
    for (const char* name : names) std::ofstream(path_ / name).flush();
    group_ = UniqueFd(::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  ~Files() { fs::remove_all(path_); }

  Status apply() const { return apply_resources(group_.get(), resources); }
  std::string refusal() const {
    auto applied = apply();
    return applied ? "applied" : applied.error().message();
  }
  std::string content(const char* name) const {
    std::ifstream file(path_ / name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  void set(const char* name, const char* text) const { std::ofstream(path_ / name) << text; }

  oci::Resources resources;

 private:
  fs::path path_;
  UniqueFd group_;
};

struct CpuMemoryPids : Files {
  CpuMemoryPids()
      : Files({"memory.max", "memory.swap.max", "memory.low", "memory.current", "cpu.weight",
               "cpu.max", "cpu.max.burst", "cpu.idle", "cpuset.cpus", "cpuset.mems", "pids.max"}) {}
};

}  // namespace

TEST_CASE_METHOD(CpuMemoryPids, "conversion of the spec's limits, into plain files") {
  SECTION("all of them") {
    resources.memory.limit = 1000;
    resources.memory.reservation = 500;
    resources.memory.swap = 1500;
    resources.cpu.shares = 1024;
    resources.cpu.quota_us = 50000;
    resources.cpu.burst_us = 7000;
    resources.cpu.idle = 1;
    resources.cpu.cpus = "0-1,3";
    resources.cpu.mems = "0";
    resources.pids_limit = 77;
    REQUIRE(apply());
    CHECK(content("memory.max") == "1000");
    CHECK(content("memory.low") == "500");
    CHECK(content("memory.swap.max") == "500");
    CHECK(content("cpu.weight") == "39");
    CHECK(content("cpu.max") == "50000 100000");
    CHECK(content("cpu.max.burst") == "7000");
    CHECK(content("cpu.idle") == "1");
    CHECK(content("cpuset.cpus") == "0-1,3");
    CHECK(content("cpuset.mems") == "0");
    CHECK(content("pids.max") == "77");
  }
  SECTION("unlimited") {
    resources.memory.limit = -1;
    resources.cpu.quota_us = -1;
    resources.cpu.period_us = 20000;
    resources.pids_limit = -1;
    REQUIRE(apply());
    CHECK(content("memory.max") == "max");
    CHECK(content("memory.swap.max") == "max");
    CHECK(content("cpu.max") == "max 20000");
    CHECK(content("pids.max") == "max");
  }
  SECTION("less than unlimited is the kernel's to refuse") {
    resources.memory.limit = -2;
    resources.pids_limit = -3;
    REQUIRE(apply());
    CHECK(content("memory.max") == "-2");
    CHECK(content("pids.max") == "-3");
  }
  SECTION("what is not named stays") {
    set("cpu.max", "30000 50000\n");
    set("memory.max", "1000\n");
    resources.cpu.quota_us = 10000;
    resources.memory.swap = 1200;
    REQUIRE(apply());
    CHECK(content("cpu.max") == "10000 50000\n");
    CHECK(content("memory.swap.max") == "200");
    CHECK(content("memory.max") == "1000\n");
    set("cpu.max", "max 50000\n");
    resources = {};
    resources.cpu.period_us = 20000;
    REQUIRE(apply());
    CHECK(content("cpu.max") == "max 20000\n");
    CHECK(content("cpu.weight").empty());
    CHECK(content("cpuset.cpus").empty());
    CHECK(content("pids.max").empty());
  }
  SECTION("swap of the same size is none") {
    resources.memory.limit = 1000;
    resources.memory.swap = 1000;
    REQUIRE(apply());
    CHECK(content("memory.swap.max") == "0");
  }
  SECTION("a new memory limit alone keeps memory and swap together") {
    set("memory.max", "1000\n");
    set("memory.swap.max", "500\n");
    resources.memory.limit = 1200;
    REQUIRE(apply());
    CHECK(content("memory.swap.max") == "300\n");
    set("memory.max", "1000\n");
    resources.memory.limit = 1600;
    CHECK(refusal() == "linux.resources.memory.swap: memory+swap limit should be >= memory limit");
  }
  SECTION("swap below memory") {
    resources.memory.limit = 1000;
    resources.memory.swap = 500;
    CHECK(apply().error().code() == Code::kInvalidArgument);
  }
  SECTION("swap without memory") {
    resources.memory.swap = 500;
    CHECK(apply().error().code() == Code::kInvalidArgument);
  }
  SECTION("less than what is used") {
    set("memory.current", "5000\n");
    resources.memory.limit = 5000;
    REQUIRE(apply());
    resources.memory.check_before_update = true;
    CHECK(refusal() == "linux.resources.memory.limit: rejecting memory limit 5000 <= usage 5000");
    resources.memory.swap = 4000;
    CHECK(refusal() ==
          "linux.resources.memory.swap: rejecting memory+swap limit 4000 <= usage 5000");
    resources.memory.swap = resources.memory.limit = 5001;
    CHECK(apply());
  }
}

TEST_CASE("limits of devices, into plain files") {
  Files files({"io.max", "rdma.max"});
  SECTION("throttles") {
    files.resources.block_io.throttle_read_bps = {{8, 16, 1000}};
    REQUIRE(files.apply());
    CHECK(files.content("io.max") == "8:16 rbps=1000");
    files.resources.block_io.throttle_write_bps = {{8, 16, 2000}};
    files.resources.block_io.throttle_read_iops = {{8, 16, 3000}};
    REQUIRE(files.apply());
    CHECK(files.content("io.max") == "8:16 riops=3000");
    files.resources.block_io.throttle_write_iops = {{8, 16, 4000}};
    REQUIRE(files.apply());
    CHECK(files.content("io.max") == "8:16 wiops=4000");
  }
  SECTION("weights as v2 has them") {
    files.set("io.weight", "");
    files.resources.block_io.weight = 500;
    REQUIRE(files.apply());
    CHECK(files.content("io.weight") == "4950");
    files.resources.block_io.weight_device = {{8, 0, 1000, {}}};
    REQUIRE(files.apply());
    CHECK(files.content("io.weight") == "8:0 10000");
  }
  SECTION("weights as BFQ has them") {
    files.set("io.bfq.weight", "");
    files.resources.block_io.weight = 500;
    REQUIRE(files.apply());
    CHECK(files.content("io.bfq.weight") == "500");
  }
  SECTION("no weights") {
    files.resources.block_io.weight = 500;
    CHECK(files.refusal() ==
          "linux.resources.blockIO.weight: the guest's kernel has no weights of the io controller");
  }
  SECTION("rdma") {
    files.resources.rdma["mlx5_1"] = {3, {}};
    REQUIRE(files.apply());
    CHECK(files.content("rdma.max") == "mlx5_1 hca_handle=3");
    files.resources.rdma["mlx5_1"] = {3, 10000};
    REQUIRE(files.apply());
    CHECK(files.content("rdma.max") == "mlx5_1 hca_handle=3 hca_object=10000");
  }
}

TEST_CASE("large pages, into plain files") {
  Files files({"hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"});
  files.resources.hugepage_limits = {{"2MB", 4194304}, {"1GB", 0}};
  REQUIRE(files.apply());
  CHECK(files.content("hugetlb.2MB.max") == "4194304");
  CHECK(files.content("hugetlb.2MB.rsvd.max") == "4194304");
  files.resources.hugepage_limits[1].limit = 1;
  CHECK(files.refusal() ==
        "linux.resources.hugepageLimits: the guest's kernel has no hugetlb controller for pages of "
        "1GB");
}

TEST_CASE("files of the group by name, into plain files") {
  Files files({"memory.high", "pids.max"});
  files.set("cgroup.controllers", "cpu memory pids\n");
  const std::string where = "linux.resources.unified: ";
  SECTION("after everything else") {
    files.resources.pids_limit = 5;
    files.resources.unified = {{"pids.max", "9"}, {"memory.high", "4096"}};
    REQUIRE(files.apply());
    CHECK(files.content("pids.max") == "9");
    CHECK(files.content("memory.high") == "4096");
  }
  SECTION("no such file") {
    files.resources.unified = {{"memory.nonsense", "1"}};
    CHECK(files.refusal() == where +
                                 "unable to set unified resource \"memory.nonsense\": "
                                 "open memory.nonsense: No such file or directory");
  }
  SECTION("no such controller") {
    files.resources.unified = {{"mem.max", "1"}};
    CHECK(files.refusal() ==
          where + "unified resource \"mem.max\" can't be set: controller \"mem\" not available");
  }
  SECTION("no controller") {
    files.resources.unified = {{"nonsense", "1"}};
    CHECK(files.refusal() ==
          where + "unified resource \"nonsense\" must be in the form CONTROLLER.PARAMETER");
  }
}

TEST_CASE("not a cgroup2 file system") {
  auto group = Cgroup::create("x", fs::temp_directory_path());
  REQUIRE_FALSE(group.has_value());
  CHECK(group.error().code() == Code::kFailedPrecondition);
}

}  // namespace kata::isolation
