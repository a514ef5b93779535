// Pods with interfaces.
#include <fstream>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/fakes/pod_fixture.h"

namespace kata::sandbox {
namespace {

using Calls = std::vector<std::string>;

struct NetworkPod : Pod {
  NetworkPod() { script.has_network = true; }
  ~NetworkPod() { (void)run(sandbox->shutdown()); }
};

TEST_CASE_METHOD(NetworkPod, "interfaces that are there become cards of the VM that boots") {
  script.interfaces = {"eth0", "net1"};
  REQUIRE(create("c"));
  CHECK(script.vm_calls == Calls{"launch card card"});
  CHECK(script.calls.empty());
  REQUIRE(run(sandbox->start("c", "")));
  CHECK(script.calls == Calls{"network eth0 net1"});
  REQUIRE(run(sandbox->shutdown()));
  CHECK(script.nothing_left());
}

TEST_CASE_METHOD(NetworkPod, "a card has a queue for each processor") {
  auto spec = nlohmann::json::parse(kTestConfigJson);
  spec["linux"]["resources"]["cpu"] = {{"quota", 250000}, {"period", 100000}};
  std::ofstream(root / "bundle/config.json") << spec;
  REQUIRE(create("c"));
  CHECK(script.last_vm.vcpus == 3);
  CHECK(script.network_queues == 3);
  // One that comes later, too.
  script.network_queues = 0;
  script.interfaces = {"eth0"};
  REQUIRE(run(sandbox->start("c", "")));
  CHECK(script.network_queues == 3);
}

TEST_CASE_METHOD(NetworkPod, "interfaces that come before the start are plugged in") {
  REQUIRE(create("c"));
  CHECK(script.vm_calls == Calls{"launch"});
  script.interfaces = {"eth0", "net1"};
  REQUIRE(run(sandbox->start("c", "")));
  CHECK(script.vm_calls == Calls{"launch", "attach 1 card card"});
  CHECK(script.calls == Calls{"network eth0 net1"});
}

TEST_CASE_METHOD(NetworkPod, "the guest hears of a network once") {
  script.interfaces = {"eth0"};
  REQUIRE(create("c"));
  REQUIRE(create("d"));
  REQUIRE(run(sandbox->start("c", "")));
  REQUIRE(run(sandbox->start("d", "")));
  CHECK(script.calls == Calls{"network eth0"});
}

TEST_CASE_METHOD(NetworkPod, "a card that QEMU does not take fails the start and is taken back") {
  REQUIRE(create("c"));
  script.interfaces = {"eth0"};
  script.fail_at = fakes::Step::kAttach;
  const auto started = run(sandbox->start("c", ""));
  REQUIRE_FALSE(started);
  CHECK(started.error().code() == Code::kResourceExhausted);
  CHECK(script.connected_interfaces == 0);
}

TEST_CASE_METHOD(NetworkPod, "an interface for which there is no port is named") {
  script.interfaces = {"eth0"};
  REQUIRE(create("c"));
  script.interfaces.push_back("late9");
  const auto started = run(sandbox->start("c", ""));
  REQUIRE_FALSE(started);
  CHECK(started.error().code() == Code::kResourceExhausted);
  CHECK(started.error().message().find("late9") != std::string::npos);
  CHECK(script.connected_interfaces == 1);
}

TEST_CASE_METHOD(NetworkPod, "a boot that fails leaves the interfaces as they were") {
  script.interfaces = {"eth0"};
  script.fail_at = fakes::Step::kLaunch;
  REQUIRE_FALSE(create("c"));
  CHECK(script.nothing_left());
}

TEST_CASE("a pod in the host's network has no cards") {
  Pod pod;
  pod.script.interfaces = {"eth0"};
  REQUIRE(pod.create("c"));
  REQUIRE(pod.run(pod.sandbox->start("c", "")));
  CHECK(pod.script.vm_calls == Calls{"launch"});
  CHECK(pod.script.calls.empty());
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

}  // namespace
}  // namespace kata::sandbox
