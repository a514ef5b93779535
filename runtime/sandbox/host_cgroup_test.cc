// The groups are the host's own, below one of the test's.
#include "runtime/sandbox/host_cgroup.h"

#include <algorithm>
#include <csignal>

#include <catch2/catch.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "common/sys/file.h"

namespace kata::sandbox {
namespace {

namespace fs = std::filesystem;

std::string own_groups() { return *sys::read_file("/proc/self/cgroup", 64 * 1024); }

struct TestGroup {
  ~TestGroup() {
    for (const fs::path& directory : directories) {
      ::rmdir(directory.c_str());
      ::rmdir(directory.parent_path().c_str());
    }
  }
  const std::string name = fmt::format("/kata-unit-{}/pod", getpid());
  std::vector<fs::path> directories;
};

TEST_CASE("paths of cgroupfs and of systemd") {
  CHECK(*group_of("/kubepods/burstable/pod1/abc") == "kubepods/burstable/pod1/abc");
  CHECK(*group_of("default/abc/") == "default/abc");
  CHECK(*group_of("kubepods-besteffort-pod1_2.slice:cri-containerd:abc") ==
        "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/"
        "cri-containerd-abc.scope");
  CHECK(*group_of(":ctr:abc") == "system.slice/ctr-abc.scope");
  CHECK(*group_of("-.slice:ctr:abc") == "ctr-abc.scope");
  for (const char* wrong :
       {"", "/", ".", "..", "/a/../..", "../x", "a.service:ctr:abc", "a--b.slice:ctr:abc"}) {
    const auto refused = group_of(wrong);
    CAPTURE(wrong);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == Code::kInvalidArgument);
  }
}

TEST_CASE("a process enters its pod's groups, and leaves nothing") {
  TestGroup group;
  const std::string before = own_groups();
  auto cgroup = HostCgroup::plan(group.name);
  REQUIRE(cgroup);
  group.directories = cgroup->directories();
  REQUIRE_FALSE(group.directories.empty());
  CHECK_FALSE(fs::exists(group.directories.front()));
  REQUIRE(cgroup->enter());
  const std::string inside = own_groups();
  CHECK(std::count(inside.begin(), inside.end(), '\n') ==
        std::count(before.begin(), before.end(), '\n'));
  size_t at = 0;
  for (size_t i = 0; i < group.directories.size(); ++i, ++at)
    REQUIRE((at = inside.find(group.name + "\n", at)) != std::string::npos);
  REQUIRE(cgroup->leave());
  CHECK(own_groups() == before);
  for (const fs::path& directory : group.directories) CHECK_FALSE(fs::exists(directory));
  CHECK(cgroup->leave());
  CHECK(cgroup->enter());
  CHECK(cgroup->leave());
}

TEST_CASE("a group that somebody is still in is named with who it is") {
  TestGroup group;
  auto cgroup = HostCgroup::plan(group.name);
  REQUIRE(cgroup);
  group.directories = cgroup->directories();
  REQUIRE(cgroup->enter());
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const Status left = cgroup->leave(std::chrono::milliseconds(10));
  REQUIRE_FALSE(left);
  CHECK(left.error().code() == Code::kFailedPrecondition);
  CHECK(left.error().message().find(std::to_string(child)) != std::string::npos);
  // It ends while that is waited for.
  kill(child, SIGKILL);
  CHECK(remove_groups(group.directories));
  waitpid(child, nullptr, 0);
  CHECK(remove_groups(group.directories));
}

}  // namespace
}  // namespace kata::sandbox
