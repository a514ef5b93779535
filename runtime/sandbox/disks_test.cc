// Containers whose roots are disks.
#include "runtime/sandbox/disks.h"

#include <catch2/catch.hpp>

#include "tests/fakes/pod_fixture.h"

namespace kata::sandbox {
namespace {

namespace fs = std::filesystem;
using Calls = std::vector<std::string>;

/// A pod and the snapshots of its containers.
struct DiskPod : Pod {
  DiskPod() { std::ofstream(root / "image") << "image"; }
  ~DiskPod() { (void)run(sandbox->shutdown()); }

  Result<uint32_t> create_on_image(const std::string& id) {
    RootfsMount mount;
    mount.type = "ext4";
    mount.source = root / "image";
    mount.options = {"loop", "rw"};
    CreateContainer create = request(id);
    create.rootfs = {mount};
    return run(sandbox->create(std::move(create)));
  }
  /// An overlay of `layers` images of the erofs snapshotter.
  Result<uint32_t> create_on_layers(const std::string& id, int layers) {
    std::string lower;
    for (int i = 0; i < layers; ++i) {
      const fs::path snapshot = root / fmt::format("layer{}", i);
      fs::create_directories(snapshot / "fs");
      std::ofstream(snapshot / ".erofslayer");
      std::ofstream(snapshot / "layer.erofs");
      lower += (lower.empty() ? "" : ":") + (snapshot / "fs").native();
    }
    const fs::path active = root / id;
    RootfsMount mount;
    mount.type = mount.source = "overlay";
    mount.options = {"lowerdir=" + lower, "upperdir=" + (active / "fs").native(),
                     "workdir=" + (active / "work").native()};
    CreateContainer create = request(id);
    create.rootfs = {mount};
    return run(sandbox->create(std::move(create)));
  }
};

TEST_CASE_METHOD(DiskPod, "an image becomes a disk, which goes with its container") {
  REQUIRE(create_on_image("c"));
  CHECK(script.vm_calls == Calls{"launch", "attach 2 disk1"});
  CHECK(script.last_root.directory.empty());
  REQUIRE(script.last_root.disks.size() == 1);
  CHECK(script.last_root.disks[0].serial == "disk1");
  CHECK(script.last_root.disks[0].fs_type == "ext4");
  CHECK(script.last_root.disks[0].options == std::vector<std::string>{"rw"});
  CHECK(script.last_root.upper.empty());
  REQUIRE(run(sandbox->remove("c", "")));
  CHECK(script.vm_calls.back() == "detach 2");
  REQUIRE(create_on_image("d"));
  CHECK(script.vm_calls.back() == "attach 2 disk2");
}

TEST_CASE_METHOD(DiskPod, "layers take as many slots as they need, what is written is shared") {
  REQUIRE(create_on_layers("c", 9));
  CHECK(script.vm_calls == Calls{"launch",
                                 "attach 2 disk1 disk2 disk3 disk4 disk5 disk6 disk7 disk8",
                                 "attach 3 disk9"});
  CHECK(script.last_root.disks.size() == 9);
  CHECK(script.last_root.upper.ends_with("/c/m/fs"));
  CHECK(script.last_root.work.ends_with("/c/m/work"));
  REQUIRE(run(sandbox->remove("c", "")));
  CHECK(script.vm_calls.back() == "detach 3");
}

TEST_CASE_METHOD(DiskPod, "a VM without a free port shares the root") {
  for (const char* id : {"a", "b", "c", "d", "e", "f"}) {
    REQUIRE(create_on_image(id));
    CHECK(script.last_root.directory.empty());
  }
  REQUIRE(create_on_image("h"));
  CHECK(script.last_root.directory.ends_with("c/rootfs"));
  CHECK(script.last_root.disks.empty());
  REQUIRE(run(sandbox->remove("d", "")));
  REQUIRE(create_on_image("i"));
  CHECK(script.last_root.disks.size() == 1);
}

TEST_CASE_METHOD(DiskPod, "a VM that booted for a shared root takes no disks") {
  REQUIRE(create("first"));
  REQUIRE(create_on_image("c"));
  CHECK(script.vm_calls == Calls{"launch"});
  CHECK(script.last_root.directory.ends_with("c/rootfs"));
}

TEST_CASE_METHOD(DiskPod, "a disk that cannot be had fails the create and takes no port") {
  REQUIRE(create_on_image("first"));
  script.fail_at = fakes::Step::kAttach;
  for (int i = 0; i < 10; ++i) {
    const auto refused = create_on_image("c");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == Code::kResourceExhausted);
    CHECK(refused.error().message().starts_with("disks of the root: "));
  }
  script.fail_at = fakes::Step::kNone;
  REQUIRE(create_on_image("c"));
  CHECK(script.last_root.disks.size() == 1);
}

TEST_CASE_METHOD(DiskPod, "a create that fails in the guest gives its disks back") {
  script.fail_at = fakes::Step::kCreateContainer;
  REQUIRE_FALSE(create_on_image("c"));
  CHECK(script.vm_calls == Calls{"launch", "attach 2 disk1", "detach 2"});
}

TEST_CASE_METHOD(DiskPod, "a disk that the guest keeps does not keep the container") {
  REQUIRE(create_on_image("c"));
  script.fail_at = fakes::Step::kDetach;
  CHECK(run(sandbox->remove("c", "")));
  script.fail_at = fakes::Step::kNone;
  REQUIRE(create_on_image("d"));
  CHECK(script.vm_calls.back() == "attach 3 disk2");
}

}  // namespace
}  // namespace kata::sandbox
