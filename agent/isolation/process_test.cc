// What a process needs to know before execve, without namespaces.
#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/isolation/executable.h"
#include "agent/isolation/namespaces.h"
#include "agent/isolation/user.h"

namespace kata::isolation {

TEST_CASE("home directories") {
  auto path = std::filesystem::temp_directory_path() / fmt::format("kata-passwd-{}", ::getpid());
  SECTION("entries, good and bad") {
    std::ofstream(path) << "root:x:0:0:root:/root:/bin/sh\n"
                           "short:x:5\n\n:::::\n"
                           "negative:x:-1:0::/n:\n"
                           "big:x:99999999999:0::/b:\n"
                           "trailing:x:7x:0::/t:\n"
                           "first:x:8:0::/first:\n"
                           "second:x:8:0::/second:\n"
                           "empty:x:9:0:::\n"
                           "last:x:10:0::/last:/bin/sh";
    CHECK(home_of(0, path) == "/root");
    CHECK(home_of(5, path) == "/");
    CHECK(home_of(7, path) == "/");
    CHECK(home_of(8, path) == "/first");
    CHECK(home_of(9, path) == "/");
    CHECK(home_of(10, path) == "/last");
    CHECK(home_of(1410065407, path) == "/");
  }
  SECTION("no such file") { CHECK(home_of(0, path) == "/"); }
  SECTION("a FIFO does not block") {
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    CHECK(home_of(0, path) == "/");
  }
  std::filesystem::remove(path);
}

TEST_CASE("environment") {
  using Env = std::vector<std::string>;
  CHECK(complete_env({"A=1", "B=2", "A=3"}, "/h") == Env{"A=3", "B=2", "HOME=/h"});
  CHECK(complete_env({"HOME=", "B=2"}, "/h") == Env{"HOME=/h", "B=2"});
  CHECK(complete_env({"HOME=/x"}, "/h") == Env{"HOME=/x"});
  CHECK(complete_env({"HOMER=1"}, "/h") == Env{"HOMER=1", "HOME=/h"});
  CHECK(env_value({"AB=1", "A=2", "A=3"}, "A") == "3");
  CHECK(env_value({"AB=1"}, "A").empty());
}

TEST_CASE("plan of the namespaces") {
  oci::Spec spec;
  spec.linux.namespaces = {{oci::NamespaceType::kPid, ""},
                           {oci::NamespaceType::kNetwork, "/var/run/netns/x"},
                           {oci::NamespaceType::kMount, "/proc/7/ns/mnt"},
                           {oci::NamespaceType::kIpc, "/proc/7/ns/ipc"}};
  auto plan = plan_namespaces(spec);
  REQUIRE(plan.has_value());
  CHECK(plan->create == (CLONE_NEWPID | CLONE_NEWCGROUP));
  REQUIRE(plan->join.size() == 2);
  CHECK(plan->join[0].flag == CLONE_NEWIPC);
  // Last: afterwards paths are another namespace's.
  CHECK(plan->join[1].flag == CLONE_NEWNS);
}

}  // namespace kata::isolation
