// When hooks of the host run, in a pod of fakes.
#include <nlohmann/json.hpp>

#include "tests/fakes/pod_fixture.h"

namespace kata::sandbox {
namespace {

using nlohmann::json;

json hook(const std::string& text) {
  return {{"path", "/bin/busybox"}, {"args", {"sh", "-c", text}}};
}

/// Each notes its kind and the status that it was told.
json noting(const std::string& kind) {
  return json::array({hook("echo " + kind + " $(sed 's/.*\"status\":\"//; s/\".*//') >> order")});
}

struct HookPod : Pod {
  void write_hooks(const json& hooks) {
    json spec = json::parse(kTestConfigJson);
    spec["hooks"] = hooks;
    std::ofstream(root / "bundle/config.json") << spec.dump();
  }
  std::string order() const {
    std::stringstream text;
    text << std::ifstream(root / "bundle/order").rdbuf();
    return text.str();
  }
};

TEST_CASE("hooks of the host run at their moments, and the guest hears of its own alone",
          "[process]") {
  HookPod pod;
  json hooks;
  for (const char* kind : {"prestart", "createRuntime", "poststart", "poststop"})
    hooks[kind] = noting(kind);
  hooks["createContainer"] = {{{"path", "/bin/busybox"}}, {{"path", "/of/the/guest"}}};
  hooks["startContainer"] = {{{"path", "/bin/in-the-root"}}};
  pod.write_hooks(hooks);
  REQUIRE(pod.create("c1"));
  CHECK(pod.order() == "prestart creating\ncreateRuntime creating\n");
  const json guest = json::parse(pod.script.last_spec.oci_json)["hooks"];
  CHECK(guest.size() == 2);
  CHECK(guest["createContainer"] == hooks["createContainer"]);
  CHECK(pod.script.last_spec.bundle == (pod.root / "bundle").native());
  CHECK(pod.script.last_spec.hook_programs ==
        std::map<std::string, std::string>{{"/bin/busybox", "/run/kata/share/c/m"}});
  REQUIRE(pod.run(pod.sandbox->start("c1", "")));
  CHECK(pod.order().ends_with("createRuntime creating\npoststart running\n"));
  pod.script.end_process("c1", 0);
  pod.settle();
  REQUIRE(pod.run(pod.sandbox->remove("c1", "")));
  CHECK(pod.order().ends_with("poststart running\npoststop stopped\n"));
  REQUIRE(pod.run(pod.sandbox->shutdown()));
  CHECK(pod.script.nothing_left());
}

TEST_CASE("a createRuntime hook that fails ends the create before the guest hears of it",
          "[process]") {
  HookPod pod;
  pod.write_hooks({{"createRuntime", json::array({hook("echo why; exit 1")})},
                   {"poststop", noting("poststop")}});
  auto created = pod.create("c1");
  REQUIRE_FALSE(created);
  CHECK(created.error().message() ==
        "error running createRuntime hook #0 (/bin/busybox): exited with status 1: why");
  CHECK(pod.script.guest_containers.empty());
  CHECK(pod.order() == "poststop stopped\n");
  CHECK(pod.script.storages == 0);
  // The pod goes on.
  pod.write_hooks(json::object());
  CHECK(pod.create("c1"));
  CHECK(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("a create that fails before its hooks has no poststop hooks either", "[process]") {
  HookPod pod;
  pod.script.fail_at = fakes::Step::kMountRootfs;
  pod.write_hooks({{"prestart", noting("prestart")}, {"poststop", noting("poststop")}});
  REQUIRE_FALSE(pod.create("c1"));
  CHECK(pod.order() == "");
  CHECK(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("failures of poststart and poststop hooks are nobody's errors", "[process]") {
  HookPod pod;
  const json failing = json::array({hook("false"), hook("echo on >> order")});
  pod.write_hooks({{"poststart", failing}, {"poststop", failing}});
  REQUIRE(pod.create("c1"));
  REQUIRE(pod.run(pod.sandbox->start("c1", "")));
  CHECK(pod.order() == "on\n");
  pod.script.end_process("c1", 0);
  pod.settle();
  CHECK(pod.run(pod.sandbox->remove("c1", "")));
  CHECK(pod.order() == "on\non\n");
  CHECK(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("other calls are answered while hooks run, and an exit is reported after the start",
          "[process]") {
  HookPod pod;
  pod.write_hooks({{"poststart", json::array({hook("while [ ! -e go ]; do sleep 0.05; done")})}});
  REQUIRE(pod.create("c1"));
  std::optional<Result<uint32_t>> started;
  asio::co_spawn(pod.loop, pod.sandbox->start("c1", ""),
                 [&](std::exception_ptr, Result<uint32_t> answer) {
                   started = answer;
                   pod.events.push_back("started");
                 });
  pod.settle();
  CHECK(pod.sandbox->state("c1", "")->status == ProcessStatus::kRunning);
  pod.script.end_process("c1", 3);
  CHECK(pod.run(pod.sandbox->wait("c1", ""))->status == 3);
  CHECK_FALSE(started.has_value());
  CHECK(pod.events.empty());
  std::ofstream(pod.root / "bundle/go");
  pod.loop.restart();
  while (pod.events.size() < 2 && pod.loop.run_one_for(std::chrono::seconds(10)) > 0) {
  }
  CHECK(pod.events == std::vector<std::string>{"started", "exit c1 3"});
  CHECK(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("the end of the sandbox ends a hook, and with it the create", "[process]") {
  HookPod pod;
  pod.write_hooks({{"prestart", json::array({hook("sleep 1000")})}});
  std::optional<Result<uint32_t>> created;
  asio::co_spawn(pod.loop, pod.sandbox->create(pod.request("c1")),
                 [&](std::exception_ptr, Result<uint32_t> answer) { created = answer; });
  pod.settle();
  REQUIRE(pod.run(pod.sandbox->shutdown()));
  pod.loop.restart();
  while (!created && pod.loop.run_one_for(std::chrono::seconds(10)) > 0) {
  }
  REQUIRE(created.has_value());
  CHECK_FALSE(*created);
  pod.settle();
  CHECK(pod.script.nothing_left());
}

}  // namespace
}  // namespace kata::sandbox
