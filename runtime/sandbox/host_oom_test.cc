#include "runtime/sandbox/host_oom.h"

#include <fstream>

#include <catch2/catch.hpp>

#include "tests/fakes/temporary_directory.h"

namespace kata::sandbox {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& file, const char* text) { std::ofstream(file) << text; }

TEST_CASE("OOM kills of cgroup v2, and the limit above the group") {
  const fakes::TemporaryDirectory root;
  const fs::path pod = root.path() / "pod";
  const fs::path group = pod / "sandbox";
  fs::create_directories(group);
  write(pod / "memory.max", "134217728\n");
  write(group / "memory.max", "max\n");
  write(group / "memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 0\noom_group_kill 0\n");
  CHECK(describe_oom_kill({group}) == std::nullopt);
  write(group / "memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\noom_group_kill 0\n");
  CHECK(describe_oom_kill({root.path() / "other", group}) ==
        "the host has ended 3 of the pod's processes, which need more memory than the limit of 128 "
        "MiB in " +
            pod.native() + ": raise the pod's limits, or the overhead of its RuntimeClass");
}

TEST_CASE("OOM kills of cgroup v1") {
  const fakes::TemporaryDirectory root;
  write(root.path() / "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
  write(root.path() / "memory.limit_in_bytes", "9223372036854771712\n");
  CHECK(describe_oom_kill({root.path()}) ==
        "the host is out of memory and has ended 1 of the pod's processes");
  write(root.path() / "memory.limit_in_bytes", "67108864\n");
  CHECK(describe_oom_kill({root.path()})
            .value_or("")
            .find("limit of 64 MiB in " + root.path().native()) != std::string::npos);
}

TEST_CASE("no groups, or none that count memory") {
  const fakes::TemporaryDirectory root;
  CHECK(describe_oom_kill({}) == std::nullopt);
  CHECK(describe_oom_kill({root.path()}) == std::nullopt);
}

}  // namespace
}  // namespace kata::sandbox
