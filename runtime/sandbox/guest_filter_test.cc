#include "runtime/sandbox/guest_filter.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "common/oci/parse.h"

namespace kata::sandbox {
namespace {

using nlohmann::json;
using Paths = std::vector<std::string>;

json labelled() {
  return json::parse(R"({
    "ociVersion": "1.0.2", "root": {"path": "rootfs"},
    "process": {"args": ["sh"], "cwd": "/", "apparmorProfile": "cri-containerd.apparmor.d",
                "selinuxLabel": "system_u:system_r:container_t:s0:c1,c2"},
    "linux": {"mountLabel": "system_u:object_r:container_file_t:s0:c1,c2",
              "resources": {"cpu": {"cpus": "4-7", "mems": "1", "shares": 5}}}
  })");
}

GuestFilter filter_for(const json& spec, const config::Hypervisor& settings) {
  return GuestFilter(settings, oci::parse_spec(spec.dump()).value());
}

TEST_CASE("by default security modules are the host's") {
  auto spec = labelled();
  auto filter = filter_for(spec, {});
  CHECK(filter.taken_away() ==
        Paths{"process.apparmorProfile", "process.selinuxLabel", "linux.mountLabel"});
  auto filtered = json::parse(filter.of_spec(spec.dump()));
  spec["process"].erase("apparmorProfile");
  spec["process"].erase("selinuxLabel");
  spec["linux"].erase("mountLabel");
  CHECK(filtered == spec);
  CHECK(json::parse(filter.of_process(labelled()["process"].dump())) == spec["process"]);
}

TEST_CASE("each module has its key") {
  config::Hypervisor settings;
  settings.disable_guest_apparmor = false;
  auto filter = filter_for(labelled(), settings);
  CHECK(filter.taken_away() == Paths{"process.selinuxLabel", "linux.mountLabel"});
  settings.disable_guest_selinux = false;
  filter = filter_for(labelled(), settings);
  CHECK(filter.taken_away().empty());
  CHECK(filter.of_spec(labelled().dump()) == labelled().dump());
  CHECK(filter.of_process(labelled()["process"].dump()) == labelled()["process"].dump());
}

TEST_CASE("the processors of a CRI's container are the host's") {
  const std::string update = R"({"cpu":{"cpus":"4-7","mems":"1","shares":5}})";
  auto spec = labelled();
  CHECK(filter_for(spec, {}).of_resources(update) == update);
  spec["annotations"] = {{"io.kubernetes.cri.container-type", "container"}};
  auto filter = filter_for(spec, {});
  CHECK(filter.taken_away().back() == "linux.resources.cpu.mems");
  auto filtered = json::parse(filter.of_spec(spec.dump()));
  CHECK(filtered["linux"]["resources"]["cpu"] == json{{"shares", 5}});
  CHECK(filter.of_resources(update) == R"({"cpu":{"shares":5}})");
}

TEST_CASE("what is no JSON is left to the guest") {
  auto filter = filter_for(labelled(), {});
  for (const char* text : {"", "{\"apparmorProfile\": ", "[\"apparmorProfile\"]",
                           "\"apparmorProfile\"", "{\"a\":{\"apparmorProfile\":5}}"})
    CHECK(filter.of_process(text) == text);
  const std::string deep(1000, '[');
  CHECK(filter.of_process("\"apparmorProfile\"" + deep) == "\"apparmorProfile\"" + deep);
}

}  // namespace
}  // namespace kata::sandbox
