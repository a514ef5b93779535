#include "agent/storage/disks.h"

#include <fstream>

#include <catch2/catch.hpp>

#include "agent/storage/disk_root.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

/// What sysfs shows of disks: a loop device, and those of virtio with a serial number.
struct Machine {
  Machine() { fs::create_directories(places().sysfs / "loop0"); }
  DiskPlaces places() const { return {directory.path() / "block", "/dev"}; }
  void add(const std::string& name, const std::string& serial) const {
    fs::create_directories(places().sysfs / name);
    std::ofstream(places().sysfs / name / "serial") << serial;
  }
  fakes::TemporaryDirectory directory;
};

constexpr std::chrono::seconds kAtOnce{0};

TEST_CASE_METHOD(Machine, "a disk is found by its whole serial number") {
  add("vda", "disk1\n");
  add("vdb", "disk11\n");
  add("vdc", "disk2");
  add("vdd", std::string(64, 'd'));
  const auto found = [&](const std::string& serial) {
    return await_disk(serial, kAtOnce, places());
  };
  CHECK(*found("disk1") == "/dev/vda");
  CHECK(*found("disk11") == "/dev/vdb");
  CHECK(*found("disk2") == "/dev/vdc");
  CHECK(found("disk").error().code() == Code::kNotFound);
  CHECK(found("disk3").error().message().find("disk3") != std::string::npos);
}

TEST_CASE_METHOD(Machine, "a machine that shows no disks at all") {
  fs::remove_all(places().sysfs);
  CHECK(await_disk("disk1", kAtOnce, places()).error().code() == Code::kNotFound);
}

TEST_CASE("requests that no root can be made of") {
  RootDisks wanted;
  DiskMounts mounts("c");
  CHECK(mount_root(wanted, mounts).error().code() == Code::kInvalidArgument);
  wanted.disks = {{"disk1", "ext4", {}}};
  wanted.upper = "/run/kata/upper";
  CHECK(mount_root(wanted, mounts).error().code() == Code::kInvalidArgument);
}

}  // namespace
}  // namespace kata::storage
