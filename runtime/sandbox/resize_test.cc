#include <algorithm>
#include <fstream>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/fakes/pod_fixture.h"

namespace kata::sandbox {
namespace {

using fakes::Step;
using nlohmann::json;

constexpr uint64_t kMib = 1024 * 1024;

/// A pod whose containers have limits.
struct LimitedPod : Pod {
  using Pod::Pod;

  void describe(uint64_t memory_mib, int64_t quota_us, const json& annotations) {
    json spec = json::parse(kTestConfigJson);
    spec["annotations"] = annotations;
    if (memory_mib > 0) spec["linux"]["resources"]["memory"]["limit"] = memory_mib * kMib;
    if (quota_us > 0) spec["linux"]["resources"]["cpu"] = {{"quota", quota_us}, {"period", 100000}};
    std::ofstream(root / "bundle/config.json") << spec;
  }
  Result<uint32_t> create_limited(const std::string& id, uint64_t memory_mib, int64_t quota_us) {
    describe(memory_mib, quota_us, {{"io.kubernetes.cri.container-type", "container"}});
    return create(id);
  }
  Result<uint32_t> create_sandbox(uint64_t memory_mib) {
    describe(0, 0,
             {{"io.kubernetes.cri.container-type", "sandbox"},
              {"io.kubernetes.cri.sandbox-memory", std::to_string(memory_mib * kMib)}});
    json spec = json::parse(std::ifstream(root / "bundle/config.json"));
    spec["linux"]["namespaces"] = {{{"type", "network"}}, {{"type", "pid"}}, {{"type", "ipc"}}};
    std::ofstream(root / "bundle/config.json") << spec;
    return create("pod");
  }
  Status update(const std::string& id, uint64_t memory_mib, int64_t quota_us) {
    json resources;
    resources["memory"]["limit"] = memory_mib * kMib;
    resources["cpu"] = {{"quota", quota_us}, {"period", 100000}};
    return run(sandbox->update(id, resources.dump()));
  }
  std::vector<std::string> take_vm_calls() { return std::exchange(script.vm_calls, {}); }
};

using Calls = std::vector<std::string>;

TEST_CASE("a VM boots with what its container may use") {
  LimitedPod pod;
  pod.describe(512, 250000, json::object());
  REQUIRE(pod.create("pod").has_value());
  CHECK(pod.script.last_vm.memory_mib == 256 + 512);
  CHECK(pod.script.last_vm.vcpus == 3);
  CHECK(pod.script.last_vm.max_memory_mib == 0);
  // It is no pod of CRI: its VM stays as it is.
  pod.take_vm_calls();
  REQUIRE(pod.update("pod", 2048, 100000));
  CHECK(pod.take_vm_calls().empty());
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("a pod's VM boots with what CRI announces, and follows its containers' limits") {
  LimitedPod pod;
  REQUIRE(pod.create_sandbox(512).has_value());
  CHECK(pod.script.last_vm.memory_mib == 768);
  CHECK(pod.script.last_vm.max_memory_mib == 768 + 768 * 16);
  CHECK(pod.script.last_vm.max_vcpus == 4);
  pod.take_vm_calls();

  REQUIRE(pod.create_limited("a", 512, 100000).has_value());
  CHECK(pod.take_vm_calls().empty());

  // Room first, then the limit; memory has to be there.
  pod.script.calls.clear();
  REQUIRE(pod.update("a", 2048, 400000));
  CHECK(pod.take_vm_calls() == Calls{"vcpus 4", "request 1536 MiB", "await memory"});
  CHECK(pod.script.calls == Calls{"resize guest 4 hot memory", "update"});

  REQUIRE(pod.update("a", 512, 100000));
  CHECK(pod.take_vm_calls() == Calls{"request 0 MiB", "await memory"});
  CHECK(pod.script.calls.back() == "resize guest 1 hot memory");
  // A processor that is there already is not plugged again.
  REQUIRE(pod.update("a", 512, 400000));
  CHECK(pod.script.calls.back() == "update");
  CHECK(pod.take_vm_calls().empty());
  REQUIRE(pod.update("a", 512, 100000));
  pod.take_vm_calls();

  // One that CRI did not announce.
  REQUIRE(pod.create_limited("b", 256, 0).has_value());
  CHECK(pod.take_vm_calls() == Calls{"request 256 MiB"});
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("what the VM cannot become is refused before anything is changed") {
  LimitedPod pod;
  REQUIRE(pod.create_sandbox(0).has_value());
  REQUIRE(pod.create_limited("a", 0, 0).has_value());
  pod.take_vm_calls();
  pod.script.calls.clear();
  const Status refused = pod.update("a", 8192, 100000);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code() == Code::kResourceExhausted);
  CHECK(refused.error().message().find("cannot grow beyond 4352 MiB") != std::string::npos);
  CHECK(pod.take_vm_calls().empty());
  CHECK(pod.script.calls.empty());
  REQUIRE(pod.update("a", 64, 100000));
  CHECK(pod.take_vm_calls().front() == "request 64 MiB");
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("a guest that keeps memory, and a processor that does not come, are errors") {
  LimitedPod pod;
  REQUIRE(pod.create_sandbox(0).has_value());
  REQUIRE(pod.create_limited("a", 0, 0).has_value());
  pod.script.fail_at = Step::kMemoryStays;
  CHECK(pod.update("a", 64, 0).error().message().starts_with("size of the VM"));
  pod.script.fail_at = Step::kResize;
  CHECK(pod.update("a", 64, 200000).error().code() == Code::kResourceExhausted);
  pod.script.fail_at = Step::kNone;
  pod.take_vm_calls();
  REQUIRE(pod.update("a", 64, 200000));
  CHECK(pod.take_vm_calls().front() == "vcpus 2");
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("a VM from a template gets its size after its start") {
  const fakes::TemporaryDirectory directory;
  const auto root = directory.path() / "templates";
  std::ofstream(root.native() + ".of") << "files";
  LimitedPod pod(root);
  pod.describe(512, 200000, json::object());
  REQUIRE(pod.create("pod").has_value());
  CHECK(pod.script.last_vm.memory_mib == 256);
  const Calls calls = pod.take_vm_calls();
  CHECK(std::ranges::find(calls, "attach 0 memory share vsock") != calls.end());
  CHECK(std::vector(calls.end() - 2, calls.end()) == Calls{"vcpus 2", "request 512 MiB"});
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

}  // namespace
}  // namespace kata::sandbox
