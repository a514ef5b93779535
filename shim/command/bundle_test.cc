#include "shim/command/bundle.h"

#include <fstream>

#include <catch2/catch.hpp>

#include "shim/ttrpc/test_support.h"

namespace kata::command {
namespace {

struct BundleFixture {
  Result<Placement> placement_in(const std::string& config) {
    std::ofstream(directory / "config.json") << config;
    return bundle.placement();
  }
  testing::TemporaryDirectory directory;
  Bundle bundle{directory.path()};
};

TEST_CASE_METHOD(BundleFixture, "a container of ctr has no place in a pod") {
  auto placement =
      placement_in(R"({"linux": {"namespaces": [{"type": "pid"}, {"type": "network"}]}})");
  REQUIRE(placement);
  CHECK(placement->sandbox_id.empty());
  CHECK_FALSE(placement->joins_sandbox("c1"));
  REQUIRE(placement->network_namespace);
  CHECK(placement->network_namespace->empty());
  CHECK(placement->hostname.empty());
}

TEST_CASE_METHOD(BundleFixture, "the sandbox container of CRI") {
  auto placement = placement_in(R"({
    "annotations": {"io.kubernetes.cri.container-type": "sandbox",
                    "io.kubernetes.cri.sandbox-id": "s1"},
    "linux": {"namespaces": [{"type": "network", "path": "/run/netns/n1"}]}})");
  REQUIRE(placement);
  CHECK_FALSE(placement->joins_sandbox("s1"));
  CHECK(placement->network_namespace == "/run/netns/n1");
}

TEST_CASE_METHOD(BundleFixture, "an application container of CRI") {
  auto placement = placement_in(R"({
    "annotations": {"io.kubernetes.cri.container-type": "container",
                    "io.kubernetes.cri.sandbox-id": "s1"}})");
  REQUIRE(placement);
  CHECK(placement->sandbox_id == "s1");
  CHECK(placement->joins_sandbox("c1"));
  CHECK_FALSE(placement->network_namespace);
}

TEST_CASE_METHOD(BundleFixture, "containers of CRI-O") {
  auto pod = placement_in(R"({
    "annotations": {"io.kubernetes.cri-o.ContainerType": "sandbox",
                    "io.kubernetes.cri-o.SandboxID": "s1"}})");
  REQUIRE(pod);
  CHECK_FALSE(pod->joins_sandbox("s1"));
  auto container = placement_in(R"({
    "annotations": {"io.kubernetes.cri-o.ContainerType": "container",
                    "io.kubernetes.cri-o.SandboxID": "s1"}})");
  REQUIRE(container);
  CHECK(container->container_type == "container");
  CHECK(container->joins_sandbox("c1"));
}

TEST_CASE_METHOD(BundleFixture, "a pod's container never joins itself, nor a sandbox another") {
  auto own = placement_in(R"({"annotations": {"io.kubernetes.cri.sandbox-id": "c1"}})");
  CHECK_FALSE(own->joins_sandbox("c1"));
  auto sandbox = placement_in(R"({
    "annotations": {"io.kubernetes.cri.container-type": "sandbox",
                    "io.kubernetes.cri.sandbox-id": "s1"}})");
  CHECK_FALSE(sandbox->joins_sandbox("s2"));
}

TEST_CASE_METHOD(BundleFixture, "absent and null parts of a config.json") {
  CHECK(placement_in("{}"));
  CHECK(placement_in(R"({"annotations": null, "linux": null, "hostname": null})"));
  CHECK(placement_in(R"({"linux": {"namespaces": null}})"));
}

TEST_CASE_METHOD(BundleFixture, "a sandbox of the sandbox API has no config.json") {
  auto placement = bundle.placement();
  REQUIRE(placement);
  CHECK_FALSE(placement->joins_sandbox("s1"));
  CHECK_FALSE(placement->network_namespace);
}

TEST_CASE("bundles of containerd's sandbox API and of its tasks") {
  CHECK(Bundle("/run/containerd/io.containerd.sandbox.controller.v1.shim/k8s.io/s1")
            .is_of_sandbox_controller());
  CHECK_FALSE(
      Bundle("/run/containerd/io.containerd.runtime.v2.task/k8s.io/c1").is_of_sandbox_controller());
  CHECK_FALSE(Bundle("").is_of_sandbox_controller());
}

TEST_CASE_METHOD(BundleFixture, "a config.json that is none") {
  for (const char* wrong : {"", "{", R"({"annotations": {"io.kubernetes.cri.sandbox-id": 5}})",
                            R"({"linux": {"namespaces": [{}]}})", R"({"annotations": 5})", "[]"}) {
    auto placement = placement_in(wrong);
    INFO(wrong);
    REQUIRE_FALSE(placement);
    CHECK(placement.error().code() == Code::kInvalidArgument);
    CHECK(placement.error().message().find("config.json") != std::string::npos);
  }
}

TEST_CASE_METHOD(BundleFixture, "files that the shim leaves in the bundle") {
  CHECK(bundle.shim_pid().error().code() == Code::kNotFound);
  CHECK(bundle.sandbox_dir().error().code() == Code::kNotFound);
  REQUIRE(bundle.write_shim_pid(4711));
  CHECK(bundle.shim_pid().value() == 4711);
  REQUIRE(bundle.write_sandbox_dir("/run/kata/0123"));
  CHECK(bundle.sandbox_dir().value() == "/run/kata/0123");
  REQUIRE(bundle.write_address("unix:///run/containerd/s/x"));
  std::string address;
  std::ifstream(directory / "address") >> address;
  CHECK(address == "unix:///run/containerd/s/x");
  CHECK(bundle.socket().value() == "/run/containerd/s/x");
  bundle.remove_address();
  bundle.remove_address();
  CHECK(bundle.socket().error().code() == Code::kNotFound);
  CHECK_FALSE(std::filesystem::exists(directory / "address"));
}

TEST_CASE_METHOD(BundleFixture, "files that somebody else has written") {
  for (const char* wrong : {"", "-1", "0", "12x", "99999999999999"}) {
    std::ofstream(directory / "shim.pid") << wrong;
    CHECK(bundle.shim_pid().error().code() == Code::kInvalidArgument);
  }
  for (const char* wrong : {"", "/run/x", "unix://", "unix://x", "vsock://3:1024"}) {
    std::ofstream(directory / "address") << wrong;
    CHECK(bundle.socket().error().code() == Code::kInvalidArgument);
  }
  std::ofstream(directory / "sandbox-dir") << "relative";
  CHECK(bundle.sandbox_dir().error().code() == Code::kInvalidArgument);
}

TEST_CASE_METHOD(BundleFixture, "a configuration from containerd's own is root's alone") {
  const auto file = bundle.write_configuration("[runtime]\n");
  REQUIRE(file);
  CHECK(*file == directory / "runtime-options.toml");
  std::string line;
  std::getline(std::ifstream(*file), line);
  CHECK(line == "[runtime]");
  CHECK((std::filesystem::status(*file).permissions() & std::filesystem::perms(0777)) ==
        std::filesystem::perms(0600));
}

TEST_CASE("an empty bundle is the working directory") {
  CHECK(Bundle("").log() == std::filesystem::path("./log"));
}

}  // namespace
}  // namespace kata::command
