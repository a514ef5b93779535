// Containers with block devices of the host.
#include "runtime/sandbox/volumes.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tests/fakes/pod_fixture.h"

namespace kata::sandbox {
namespace {

using Calls = std::vector<std::string>;

// Of no driver: nobody is to open this node.
constexpr uint32_t kMajor = 4000;
constexpr uint32_t kMinor = 1;

/// A pod whose containers mount a file system of the host's device.
struct VolumePod : Pod {
  VolumePod() {
    REQUIRE(mknod(device.c_str(), S_IFBLK | 0600, makedev(kMajor, kMinor)) == 0);
    write_spec({"noatime"});
  }
  ~VolumePod() { (void)run(sandbox->shutdown()); }

  void write_spec(const std::vector<std::string>& options, const nlohmann::json& annotations = {}) {
    auto spec = nlohmann::json::parse(kTestConfigJson);
    spec["mounts"] = {{{"destination", "/data"},
                       {"type", "ext4"},
                       {"source", device.native()},
                       {"options", options}}};
    if (!annotations.empty()) spec["annotations"] = annotations;
    std::ofstream(root / "bundle/config.json") << spec.dump();
  }

  const std::filesystem::path device = root / "device";
};

TEST_CASE_METHOD(VolumePod, "a device is a disk for as long as a container uses it") {
  REQUIRE(create("c"));
  CHECK(script.vm_calls == Calls{"launch", "attach 2 disk1"});
  REQUIRE(script.last_spec.volumes.size() == 1);
  const agent_client::Volume& volume = script.last_spec.volumes[0];
  CHECK(volume.serial == "disk1");
  CHECK(volume.major == kMajor);
  CHECK(volume.minor == kMinor);
  REQUIRE(volume.mounts.size() == 1);
  CHECK(volume.mounts[0].index == 0);
  REQUIRE(create("d"));
  CHECK(script.last_spec.volumes[0].serial == "disk1");
  REQUIRE(run(sandbox->remove("c", "")));
  CHECK(script.vm_calls == Calls{"launch", "attach 2 disk1"});
  REQUIRE(run(sandbox->remove("d", "")));
  CHECK(script.vm_calls == Calls{"launch", "attach 2 disk1", "detach 2"});
  REQUIRE(create("e"));
  CHECK(script.last_spec.volumes[0].serial == "disk2");
}

TEST_CASE_METHOD(VolumePod, "containers that come at once have one disk") {
  for (const char* id : {"c", "d"})
    asio::co_spawn(loop, sandbox->create(request(id)),
                   [](std::exception_ptr, Result<uint32_t> made) { CHECK(made); });
  settle();
  CHECK(script.vm_calls == Calls{"launch", "attach 2 disk1"});
}

TEST_CASE_METHOD(VolumePod, "a pod of CRI whose first container has no volume") {
  write_spec({}, {{"io.kubernetes.cri.container-type", "container"}});
  auto first = nlohmann::json::parse(kTestConfigJson);
  first["annotations"]["io.kubernetes.cri.container-type"] = "container";
  const std::filesystem::path other = root / "first";
  std::filesystem::create_directories(other);
  std::ofstream(other / "config.json") << first.dump();
  CreateContainer create_first = request("first");
  create_first.bundle = other;
  REQUIRE(run(sandbox->create(std::move(create_first))));
  CHECK(script.vm_calls == Calls{"launch"});
  REQUIRE(create("c"));
  CHECK(script.vm_calls.back() == "attach 2 disk1");
}

TEST_CASE_METHOD(VolumePod, "a device that cannot be had fails the create and leaves nothing") {
  script.fail_at = fakes::Step::kAttach;
  const auto refused = create("c");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Code::kResourceExhausted);
  CHECK(refused.error().message().starts_with("block volume: " + device.native()));
  script.fail_at = fakes::Step::kNone;
  REQUIRE(create("c"));
  CHECK(script.vm_calls.back() == "attach 2 disk2");
}

TEST_CASE_METHOD(VolumePod, "a create that fails in the guest gives its volume back") {
  script.fail_at = fakes::Step::kCreateContainer;
  REQUIRE_FALSE(create("c"));
  CHECK(script.vm_calls == Calls{"launch", "attach 2 disk1", "detach 2"});
}

TEST_CASE_METHOD(VolumePod, "readers join a writer, and a writer does not join readers") {
  REQUIRE(create("writes"));
  write_spec({"ro"});
  REQUIRE(create("reads"));
  CHECK(script.vm_calls == Calls{"launch", "attach 2 disk1"});
  REQUIRE(run(sandbox->remove("writes", "")));
  REQUIRE(run(sandbox->remove("reads", "")));
  REQUIRE(create("reads"));
  write_spec({});
  const auto refused = create("writes");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Code::kFailedPrecondition);
  CHECK(refused.error().message().find("to read only") != std::string::npos);
  CHECK(script.vm_calls == Calls{"launch", "attach 2 disk1", "detach 2", "attach 2 disk2"});
}

TEST_CASE_METHOD(VolumePod, "a device that the guest has not let go is asked for again") {
  REQUIRE(create("c"));
  script.fail_at = fakes::Step::kDetach;
  REQUIRE(run(sandbox->remove("c", "")));
  REQUIRE_FALSE(create("c"));
  script.fail_at = fakes::Step::kNone;
  REQUIRE(create("c"));
  CHECK(script.vm_calls.back() == "attach 2 disk2");
}

TEST_CASE_METHOD(VolumePod, "the guest unmounts volumes before its VM is killed") {
  REQUIRE(create("c"));
  REQUIRE(run(sandbox->start("c", "")));
  REQUIRE(run(sandbox->stop(std::chrono::seconds(0))));
  CHECK(script.guest_containers.empty());
}

}  // namespace
}  // namespace kata::sandbox
