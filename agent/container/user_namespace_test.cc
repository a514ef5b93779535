// Containers in user namespaces, by the real kata-agent: needs root and cgroup v2.
#include <filesystem>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/testing/containers.h"

namespace kata::container {
namespace {

using nlohmann::json;
using testing::kOutput;
using testing::wait_for_end;

struct Mapped : testing::Containers {
  CreateRequest mapped(const std::string& id, const std::string& script) {
    auto wanted = request(id, {"sh", "-c", script}, kOutput);
    change(wanted, [](json& spec) {
      spec["linux"]["namespaces"].push_back({{"type", "user"}});
      for (const char* key : {"uidMappings", "gidMappings"})
        spec["linux"][key] = {{{"containerID", 0}, {"hostID", 100000}, {"size", 65536}}};
    });
    return wanted;
  }

  template <typename Change>
  static void change(CreateRequest& request, Change change) {
    json spec = json::parse(request.spec_json);
    change(spec);
    request.spec_json = spec.dump();
  }

  std::string run(const CreateRequest& request) {
    auto container = must_create(request);
    UniqueFd out = guest.connect(container->ports().out);
    if (auto started = container->start(); !started) FAIL(started.error().message());
    auto output = testing::read_all(out.get());
    wait_for_end(*container);
    REQUIRE(container->remove());
    return output;
  }

  std::string refusal(const CreateRequest& request) {
    auto made = create(request);
    return made ? "none" : made.error().message();
  }
};

TEST_CASE_METHOD(Mapped, "A container in a user namespace has ids of its own") {
  auto request = mapped("agent-t-user",
                        "id -u; cat /proc/self/uid_map /proc/self/setgroups; echo again > "
                        "/dev/stdout; stat -c %u /tmp/made 2>&1; echo > /tmp/made; stat -c %u "
                        "/tmp/made; stat -c %u /dev/null; echo > /dev/null && echo written");
  REQUIRE(::chmod((std::filesystem::path(rootfs) / "tmp").c_str(), 01777) == 0);
  auto output = run(request);
  CHECK(output ==
        "0\n         0     100000      65536\nallow\nagain\nstat: can't stat '/tmp/made': No such "
        "file or directory\n0\n65534\nwritten\n");
  struct stat info {};
  REQUIRE(::stat((rootfs + "/tmp/made").c_str(), &info) == 0);
  CHECK(info.st_uid == 100000);
}

TEST_CASE_METHOD(Mapped, "Everything of the container belongs to its user namespace") {
  // Its root may mount there, and look at what the pid namespace has.
  auto request = mapped("agent-t-user-mount",
                        "mount -t tmpfs none /tmp && mount -t proc none /proc && echo $$; grep "
                        "CapEff /proc/self/status");
  change(request, [](json& spec) {
    for (const char* set : {"bounding", "permitted", "effective"})
      spec["process"]["capabilities"][set] = {"CAP_SYS_ADMIN"};
  });
  CHECK(run(request) == "1\nCapEff:\t0000000000200000\n");
}

TEST_CASE_METHOD(Mapped, "An exec joins the user namespace, streams are its user's") {
  auto container = must_create(mapped("agent-t-user-exec", "sleep 1000"));
  REQUIRE(container->start());
  auto process =
      testing::make_process({"sh", "-c",
                             "id -u; cat /proc/self/uid_map; echo again > /dev/stdout; readlink "
                             "/proc/self/ns/user /proc/1/ns/user"});
  process["user"] = {{"uid", 1000}, {"gid", 1000}};
  auto outcome = testing::run_exec(*this, *container, process);
  const std::string begin = "1000\n         0     100000      65536\nagain\n";
  CHECK(outcome.output.substr(0, begin.size()) == begin);
  auto root = testing::run_exec(*this, *container,
                                testing::make_process({"sh", "-c",
                                                       "readlink /proc/self/ns/user > /tmp/a; "
                                                       "id -u; stat -c %u /proc/self/status"}),
                                "root");
  CHECK(root.output == "0\n0\n");
  process["user"] = {{"uid", 70000}, {"gid", 0}};
  auto refused = container->create_exec({"unmapped", process.dump(), kOutput});
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message().ends_with(
      "cannot set uid to unmapped user in user namespace: 70000"));
  CHECK(container->kill_and_remove());
}

TEST_CASE_METHOD(Mapped, "Limits and the OOM score are set though the container may not") {
  auto request = mapped("agent-t-user-limits",
                        "ulimit -Hn; cat /proc/self/oom_score_adj; echo -5 > "
                        "/proc/self/oom_score_adj || echo denied");
  rlimit own{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &own) == 0);
  const auto wanted = own.rlim_max - 1;
  change(request, [&](json& spec) {
    spec["process"]["oomScoreAdj"] = 100;
    spec["process"]["rlimits"] = {{{"type", "RLIMIT_NOFILE"}, {"soft", 100}, {"hard", wanted}}};
  });
  auto output = run(request);
  CHECK(output.starts_with(std::to_string(wanted) + "\n100\n"));
  CHECK(output.ends_with("denied\n"));
}

TEST_CASE_METHOD(Mapped, "A container joins the user namespace of another one") {
  auto first = must_create(mapped("agent-t-user-first", "sleep 1000"));
  REQUIRE(first->start());
  auto request =
      this->request("agent-t-user-second",
                    {"sh", "-c", "echo $$; cat /proc/self/uid_map; echo > /dev/stdout"}, kOutput);
  change(request, [&](json& spec) {
    spec["linux"]["namespaces"].push_back(
        {{"type", "user"}, {"path", "/proc/" + std::to_string(first->pid()) + "/ns/user"}});
  });
  CHECK(run(request) == "1\n         0     100000      65536\n\n");
  change(request,
         [&](json& spec) { spec["linux"]["namespaces"].back()["path"] = "/proc/self/ns/user"; });
  CHECK(refusal(request).find("it is the agent's") != std::string::npos);
  change(request,
         [&](json& spec) { spec["linux"]["namespaces"].back()["path"] = "/proc/self/ns/uts"; });
  CHECK(refusal(request).find("join user namespace /proc/self/ns/uts: ") != std::string::npos);
  CHECK(first->kill_and_remove());
}

TEST_CASE_METHOD(Mapped, "Mappings that the kernel refuses are named") {
  auto request = mapped("agent-t-user-overlap", "true");
  change(request, [](json& spec) {
    spec["linux"]["gidMappings"].push_back({{"containerID", 5}, {"hostID", 7}, {"size", 1}});
  });
  CHECK(refusal(request).find("gidMappings: the kernel does not take these mappings") !=
        std::string::npos);
  CHECK_FALSE(has_cgroup("agent-t-user-overlap"));
}

}  // namespace
}  // namespace kata::container
