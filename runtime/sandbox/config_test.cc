// What a pod may change of the host's settings before its VM boots.
#include <catch2/catch.hpp>

#include "tests/fakes/pod_fixture.h"

namespace kata::sandbox {
namespace {

constexpr const char* kVcpus = "io.katacontainers.config.hypervisor.default_vcpus";
constexpr const char* kParams = "io.katacontainers.config.hypervisor.kernel_params";

/// A pod whose configuration.toml is of this test's, and comes with its first container.
struct ConfiguredPod : Pod {
  using Pod::Pod;

  void configure(const std::string& text) {
    std::ofstream(file) << text << "\n[agent.kata]\ndial_timeout = 1\n[runtime]\nstate_root = \""
                        << (root / "run").native() << "\"\n";
  }
  void annotate(const std::string& name, const std::string& value) {
    std::string text = kTestConfigJson;
    text.insert(text.rfind('}'), fmt::format(R"(, "annotations": {{"{}": "{}"}})", name, value));
    std::ofstream(root / "bundle/config.json") << text;
  }
  Result<uint32_t> create_with_file(const std::string& id) {
    auto wanted = request(id);
    wanted.config_path = file;
    return run(sandbox->create(std::move(wanted)));
  }

  std::filesystem::path file = root / "configuration.toml";
};

TEST_CASE("the file that the first container names counts, with its drop-ins") {
  ConfiguredPod pod;
  pod.configure("[hypervisor.qemu]\nkernel_params = \"from.file\"\ndefault_memory = 300");
  std::filesystem::create_directory(pod.root / "config.d");
  std::ofstream(pod.root / "config.d/1.toml") << "[hypervisor.qemu]\ndefault_memory = 400\n";
  REQUIRE(pod.create_with_file("c"));
  CHECK_THAT(pod.script.last_vm.kernel_command_line, Catch::EndsWith(" from.file"));
  CHECK(pod.script.last_vm.memory_mib == 400);
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("a file that cannot be had fails the create, and costs no VM") {
  ConfiguredPod pod;
  CHECK(pod.create_with_file("c").error().message().find(pod.file.native()) != std::string::npos);
  pod.configure("[hypervisor.qemu]\ndefault_memroy = 300");
  CHECK_THAT(pod.create_with_file("c").error().message(), Catch::Contains("'default_memroy'"));
  std::ofstream(pod.file) << "[runtime]\nstate_root = \"/run/elsewhere\"\n";
  CHECK_THAT(pod.create_with_file("c").error().message(), Catch::Contains("/run/elsewhere"));
  CHECK(pod.script.vms == 0);
  REQUIRE(pod.run(pod.sandbox->shutdown()));
  CHECK(pod.script.nothing_left());
}

TEST_CASE("annotations of the first container shape the VM, if they are enabled") {
  ConfiguredPod pod;
  pod.annotate(kParams, "of.pod");
  const auto refused = pod.create("c");
  CHECK(refused.error().code() == Code::kPermissionDenied);
  CHECK_THAT(refused.error().message(),
             Catch::Contains(kParams) && Catch::Contains("enable_annotations"));
  CHECK(pod.script.vms == 0);

  pod.configure("[hypervisor.qemu]\nenable_annotations = [\"kernel_.*\"]");
  REQUIRE(pod.create_with_file("c"));
  CHECK_THAT(pod.script.last_vm.kernel_command_line, Catch::EndsWith(" of.pod"));

  // The pod's other containers have the same.
  REQUIRE(pod.create_with_file("same"));
  pod.annotate(kParams, "of.another");
  CHECK_THAT(pod.create_with_file("late").error().message(), Catch::Contains("comes too late"));
  pod.annotate(kVcpus, "1");
  CHECK_THAT(pod.create_with_file("late").error().message(), Catch::Contains("comes too late"));
  pod.annotate("io.katacontainers.container.resource.swappiness", "1");
  CHECK_THAT(pod.create_with_file("late").error().message(), Catch::Contains("is not supported"));
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("annotations of a pod without containers") {
  ConfiguredPod pod;
  CHECK(pod.sandbox->annotate({{kParams, "x"}}).error().code() == Code::kPermissionDenied);
  CHECK(pod.sandbox->annotate({{"of.others", "x"}}));
  REQUIRE(pod.run(pod.sandbox->boot("")));
  pod.annotate(kParams, "x");
  CHECK_THAT(pod.create("c").error().message(), Catch::Contains("comes too late"));
  REQUIRE(pod.run(pod.sandbox->shutdown()));
}

TEST_CASE("pods with annotations make no templates, and spoil none") {
  fakes::TemporaryDirectory directory;
  const auto store = directory.path() / "templates";
  std::ofstream(store.native() + ".of") << "first";
  const std::string files =
      fmt::format("\npath = \"{0}.of\"\nkernel = \"{0}.of\"\ninitrd = \"{0}.of\"", store.native());
  const auto start = [&](const char* annotation, const std::string& value,
                         fakes::Step fail_at = fakes::Step::kNone) {
    ConfiguredPod pod(store);
    pod.script.fail_at = fail_at;
    pod.configure("[hypervisor.qemu]\nenable_annotations = [\".*\"]" + files);
    pod.annotate(annotation, value);
    REQUIRE(pod.create_with_file("c"));
    REQUIRE(pod.run(pod.sandbox->shutdown()));
    return pod.script.vm_calls;
  };
  const std::vector<std::string> booted = {"launch"};
  const char* none = "of.others";
  CHECK(start(kParams, "of.pod") == booted);
  CHECK(start(none, "").front() == "launch");  // makes it
  CHECK(start(none, "").front() == "launch for restore");
  CHECK(start(kParams, "of.pod") == booted);
  // One that changes nothing of the VM continues it, and does not condemn it for others.
  const char* cache = "io.katacontainers.config.hypervisor.virtio_fs_cache";
  CHECK(start(cache, "never").front() == "launch for restore");
  CHECK(start(cache, "never", fakes::Step::kCloneSilent).back() == "launch");
  CHECK(start(none, "").front() == "launch for restore");
}

}  // namespace
}  // namespace kata::sandbox
