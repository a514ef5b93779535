// What a process needs to know before execve, without namespaces.
#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/isolation/executable.h"
#include "agent/isolation/namespaces.h"
#include "agent/isolation/user.h"
#include "agent/isolation/user_namespace.h"

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

TEST_CASE("plan of a time namespace") {
  oci::Spec spec;
  spec.linux.time_offsets = {{"boottime", {40, 5}}, {"monotonic", {-7, 0}}};
  auto refused = plan_namespaces(spec);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code() == Code::kInvalidArgument);
  CHECK(refused.error().message().starts_with("linux.timeOffsets: "));
  spec.linux.namespaces = {{oci::NamespaceType::kTime, "/proc/7/ns/time"}};
  CHECK_FALSE(plan_namespaces(spec).has_value());
  spec.linux.namespaces = {{oci::NamespaceType::kTime, ""}};
  auto plan = plan_namespaces(spec);
  REQUIRE(plan.has_value());
  CHECK((plan->create & CLONE_NEWTIME) != 0);
  CHECK(plan->time_offsets == "boottime 40 5\nmonotonic -7 0\n");
  CHECK(rarer_namespaces(spec) == CLONE_NEWTIME);
}

TEST_CASE("plan of a user namespace") {
  oci::Spec spec;
  CHECK_FALSE(plan_user_namespace(spec)->has_value());
  spec.linux.namespaces = {{oci::NamespaceType::kUser, ""}};
  auto refusal = [&] {
    auto plan = plan_user_namespace(spec);
    return plan ? "none" : plan.error().message();
  };
  CHECK(refusal() == "linux.uidMappings: user namespaces enabled, but no uid mappings found");
  spec.linux.uid_mappings = {{1, 100000, 10}};
  CHECK(refusal() == "linux.uidMappings: user namespaces enabled, but no user mapping found");
  spec.linux.uid_mappings = {{0, 100000, 10}};
  CHECK(refusal() == "linux.gidMappings: user namespaces enabled, but no gid mappings found");
  spec.linux.gid_mappings = {{0, 200000, 10}};
  CHECK(refusal() == "none");
  spec.linux.uid_mappings.clear();
  for (uint32_t i = 0; i < 341; ++i) spec.linux.uid_mappings.push_back({i, i, 1});
  CHECK(refusal().find("341 mappings, the kernel takes 340") != std::string::npos);
  spec.linux.namespaces[0].path = "/proc/7/ns/user";
  CHECK(refusal() == "none");
}

TEST_CASE("ids of a user namespace") {
  IdMappings mappings = {{0, 100000, 10}, {1000, 5000, 1}};
  CHECK(host_id(mappings, 0) == 100000);
  CHECK(host_id(mappings, 9) == 100009);
  CHECK(host_id(mappings, 10) == std::nullopt);
  CHECK(host_id(mappings, 1000) == 5000);
  auto own = read_uid_mappings(::getpid());
  REQUIRE(own.has_value());
  CHECK(host_id(*own, 0) == 0);
}

TEST_CASE("a user namespace that nobody lives in") {
  auto made = make_user_namespace({{0, 100000, 10}}, {{0, 100000, 10}});
  if (!made) FAIL(made.error().message());
  struct stat info {};
  struct stat own {};
  REQUIRE(::fstat(made->get(), &info) == 0);
  REQUIRE(::stat("/proc/self/ns/user", &own) == 0);
  CHECK(info.st_ino != own.st_ino);
  auto refused = make_user_namespace({{0, 0, 2}, {1, 1, 1}}, {{0, 0, 1}});
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code() == Code::kInvalidArgument);
}

}  // namespace kata::isolation
