#include "agent/storage/volumes.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "common/oci/parse.h"

namespace kata::storage {
namespace {

using nlohmann::json;

/// On a host whose 254:0 and 254:16 came to the guest the other way round.
const DeviceNumbers kNumbers = {{{254, 0}, {254, 16}}, {{254, 16}, {254, 0}}};

json make_spec() {
  return json::parse(R"({
    "ociVersion": "1.2.0", "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
    "mounts": [{"destination": "/data", "type": "ext4", "source": "/dev/vda"}],
    "linux": {
      "devices": [
        {"path": "/dev/one", "type": "b", "major": 254, "minor": 0, "fileMode": 432, "gid": 6},
        {"path": "/dev/two", "type": "b", "major": 254, "minor": 16},
        {"path": "/dev/three", "type": "b", "major": 254, "minor": 32},
        {"path": "/dev/character", "type": "c", "major": 254, "minor": 0},
        {"path": "/dev/fifo", "type": "p"}
      ]
    }
  })");
}

Result<std::string> use(const json& spec, const std::vector<Volume>& volumes) {
  DiskMounts mounts("volumes-test");
  const auto parsed = oci::parse_spec(spec.dump());
  REQUIRE(parsed);
  GivenVolumes given;
  return use_volumes(*parsed, spec.dump(), volumes, kNumbers, mounts, given);
}

TEST_CASE("block devices of the specification get the guest's numbers, and nothing else changes") {
  const auto changed = use(make_spec(), {});
  REQUIRE(changed);
  json expected = make_spec();
  expected["linux"]["devices"][0]["minor"] = 16;
  expected["linux"]["devices"][1]["minor"] = 0;
  CHECK(json::parse(*changed) == expected);
}

TEST_CASE("a specification without devices") {
  json spec = make_spec();
  spec["linux"].erase("devices");
  const auto changed = use(spec, {});
  REQUIRE(changed);
  CHECK(json::parse(*changed) == spec);
}

TEST_CASE("a volume for a mount that the specification does not have") {
  VolumeMount mount;
  mount.index = 1;
  const auto refused = use(make_spec(), {{"disk1", {254, 0}, {mount}}});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Code::kInvalidArgument);
  CHECK(refused.error().message().find("disk1: there is no mounts[1]") != std::string::npos);
}

TEST_CASE("limits and rules are for the guest's numbers") {
  auto resources = oci::parse_resources(R"({
    "devices": [
      {"allow": false, "access": "rwm"},
      {"allow": true, "type": "b", "major": 254, "minor": 0, "access": "rw"},
      {"allow": true, "type": "b", "major": 254, "access": "r"},
      {"allow": true, "type": "c", "major": 254, "minor": 0, "access": "r"}
    ],
    "blockIO": {
      "weightDevice": [{"major": 254, "minor": 0, "weight": 500}],
      "throttleReadBpsDevice": [{"major": 254, "minor": 16, "rate": 1}],
      "throttleWriteBpsDevice": [{"major": 254, "minor": 0, "rate": 2}],
      "throttleReadIOPSDevice": [{"major": 254, "minor": 32, "rate": 3}],
      "throttleWriteIOPSDevice": [{"major": 254, "minor": 0, "rate": 4}]
    }
  })");
  REQUIRE(resources);
  use_numbers(*resources, kNumbers);
  REQUIRE(resources->devices.size() == 3);
  CHECK(resources->devices[1].minor == 16);
  CHECK(resources->devices[1].access == "rw");
  CHECK(resources->devices[2].type == "c");
  CHECK(resources->devices[2].minor == 0);
  const oci::BlockIoResources& block_io = resources->block_io;
  CHECK(block_io.weight_device[0].minor == 16);
  CHECK(block_io.throttle_read_bps[0].minor == 0);
  CHECK(block_io.throttle_write_bps[0].minor == 16);
  CHECK(block_io.throttle_read_iops[0].minor == 32);
  CHECK(block_io.throttle_write_iops[0].minor == 16);
}

TEST_CASE("a number of the host without a disk here may be made, and not opened") {
  auto resources = oci::parse_resources(R"({
    "devices": [
      {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "rwm"},
      {"allow": true, "type": "b", "major": 8, "access": "rw"},
      {"allow": false, "type": "b", "major": 8, "access": "w"},
      {"allow": true, "type": "b", "access": "rwm"},
      {"allow": true, "access": "rwm"}
    ]
  })");
  REQUIRE(resources);
  use_numbers(*resources, {});
  REQUIRE(resources->devices.size() == 4);
  CHECK(resources->devices[0].access == "m");
  CHECK_FALSE(resources->devices[1].allow);
  CHECK(resources->devices[1].access == "w");
  CHECK(resources->devices[2].access == "rwm");
  CHECK(resources->devices[3].access == "rwm");
}

}  // namespace
}  // namespace kata::storage
