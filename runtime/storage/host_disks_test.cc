#include "runtime/storage/host_disks.h"

#include <fstream>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tests/fakes/temporary_directory.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

// Numbers of no driver: nobody is to open these nodes.
constexpr uint32_t kMajor = 4000;

/// A host with two block devices of its own, and a specification.
struct Host {
  Host() {
    fs::create_directories(places.dev);
    add("one", 1);
    add("two", 2);
  }
  void add(const std::string& name, uint32_t minor) const {
    const fs::path shown = places.sysfs / fmt::format("{}:{}", kMajor, minor);
    fs::create_directories(shown);
    std::ofstream(shown / "uevent") << "MAJOR=4000\nDEVNAME=" << name << "\nDEVTYPE=disk\n";
    REQUIRE(mknod((places.dev / name).c_str(), S_IFBLK | 0600, makedev(kMajor, minor)) == 0);
  }
  void want(uint32_t minor, const std::string& access) {
    oci::Device device;
    device.type = oci::DeviceType::kBlock;
    device.path = "/dev/in-the-container";
    device.major = kMajor;
    device.minor = minor;
    spec.linux.devices.push_back(device);
    if (access.empty()) return;
    spec.linux.resources.devices.push_back(
        {.allow = true, .type = "b", .major = kMajor, .minor = minor, .access = access});
  }
  void mount(const std::string& name, std::vector<std::string> options) {
    oci::Mount mount;
    mount.destination = "/data";
    mount.type = "ext4";
    mount.source = places.dev / name;
    mount.options = std::move(options);
    spec.mounts.push_back(mount);
  }
  std::vector<HostDisk> find() const {
    auto found = find_host_disks(spec, places);
    REQUIRE(found);
    return *found;
  }

  fakes::TemporaryDirectory directory;
  HostPlaces places{directory.path() / "sys", directory.path() / "dev",
                    directory.path() / "direct-volumes"};
  oci::Spec spec;
};

std::vector<uint32_t> indices_of(const HostDisk& disk) {
  std::vector<uint32_t> indices;
  for (const VolumeMount& mount : disk.mounts) indices.push_back(mount.index);
  return indices;
}

TEST_CASE_METHOD(Host, "a device that a rule names is a disk") {
  want(1, "rwm");
  want(2, "mr");
  const auto disks = find();
  REQUIRE(disks.size() == 2);
  CHECK(disks[0].file == places.dev / "one");
  CHECK(disks[0].major == kMajor);
  CHECK(disks[0].minor == 1);
  CHECK_FALSE(disks[0].read_only);
  CHECK(disks[1].file == places.dev / "two");
  CHECK(disks[1].read_only);
}

TEST_CASE_METHOD(Host, "one device with two nodes is one disk") {
  want(1, "r");
  want(1, "rw");
  const auto disks = find();
  REQUIRE(disks.size() == 1);
  CHECK_FALSE(disks[0].read_only);
}

TEST_CASE_METHOD(Host, "the nodes of a privileged container are not disks") {
  want(1, "");
  oci::DeviceRule everything;
  everything.allow = true;
  everything.access = "rwm";
  spec.linux.resources.devices.push_back(everything);
  CHECK(find().empty());
}

TEST_CASE_METHOD(Host, "a rule that forbids a device makes it no disk") {
  want(1, "rwm");
  spec.linux.resources.devices[0].allow = false;
  CHECK(find().empty());
}

TEST_CASE_METHOD(Host, "other devices are not disks") {
  want(1, "rwm");
  spec.linux.devices[0].type = oci::DeviceType::kChar;
  spec.linux.resources.devices[0].type = "c";
  CHECK(find().empty());
}

TEST_CASE_METHOD(Host, "a number without a device is none") {
  want(3, "rwm");
  CHECK(find().empty());
}

TEST_CASE_METHOD(Host, "a device whose node is another one") {
  want(1, "rwm");
  fs::remove(places.dev / "one");
  fs::rename(places.dev / "two", places.dev / "one");
  const auto refused = find_host_disks(spec, places);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Code::kNotFound);
  CHECK(refused.error().message().find("linux.devices[0]") != std::string::npos);
  CHECK(refused.error().message().find("4000:1") != std::string::npos);
}

TEST_CASE_METHOD(Host, "file systems on devices") {
  mount("one", {"ro", "noatime"});
  mount("no-such-node", {});
  mount("one", {"ro"});
  mount("two", {});
  const auto disks = find();
  REQUIRE(disks.size() == 2);
  CHECK(indices_of(disks[0]) == std::vector<uint32_t>{0, 2});
  CHECK(disks[0].mounts[0].fs_type.empty());
  CHECK(disks[0].read_only);
  CHECK(indices_of(disks[1]) == std::vector<uint32_t>{3});
  CHECK_FALSE(disks[1].read_only);
}

TEST_CASE_METHOD(Host, "binds of direct-assigned volumes") {
  const fs::path image = directory.path() / "image";
  std::ofstream(image) << "disk";
  const auto assign = [&](const std::string& path, const fs::path& device, const char* option) {
    REQUIRE(add_direct_volume(path,
                              fmt::format(R"({{"device": "{}", "fstype": "ext4", )"
                                          R"("options": ["{}"], "metadata": {{"fsGroup": "7"}}}})",
                                          device.native(), option),
                              places.direct_volumes));
  };
  assign("/node", places.dev / "one", "ro");
  assign("/image", image, "noatime");
  // The same file by another name.
  fs::create_hard_link(image, directory.path() / "again");
  assign("/again", directory.path() / "again", "noatime");
  for (const char* source : {"/node", "/image", "/again", "/elsewhere"}) {
    mount("", {"rbind", "ro"});
    spec.mounts.back().source = source;
    spec.mounts.back().type = "bind";
  }
  const auto disks = find();
  REQUIRE(disks.size() == 2);
  CHECK(disks[0].file == places.dev / "one");
  CHECK(disks[0].minor == 1);
  CHECK(disks[0].read_only);
  CHECK(disks[1].file == image);
  CHECK(disks[1].major == 0);
  // What is bound to be read can be written by others of the pod.
  CHECK_FALSE(disks[1].read_only);
  CHECK(indices_of(disks[1]) == std::vector<uint32_t>{1, 2});
  const VolumeMount& mount = disks[1].mounts[0];
  CHECK(mount.fs_type == "ext4");
  CHECK(mount.options == std::vector<std::string>{"noatime"});
  CHECK(mount.fs_group == FsGroup{.id = 7});
}

TEST_CASE_METHOD(Host, "a device that is bound into the container is no file system") {
  mount("one", {"rbind"});
  mount("two", {});
  spec.mounts[1].type = "bind";
  CHECK(find().empty());
}

TEST_CASE_METHOD(Host, "a mount that may write makes the whole disk writable") {
  want(1, "r");
  mount("one", {});
  const auto disks = find();
  REQUIRE(disks.size() == 1);
  CHECK_FALSE(disks[0].read_only);
}

TEST_CASE_METHOD(Host, "rules count in their order") {
  want(1, "rwm");
  oci::DeviceRule no_writing = spec.linux.resources.devices[0];
  no_writing.allow = false;
  no_writing.access = "w";
  spec.linux.resources.devices.push_back(no_writing);
  REQUIRE(find().size() == 1);
  CHECK(find()[0].read_only);
  oci::DeviceRule nothing;
  nothing.access = "rwm";
  spec.linux.resources.devices.push_back(nothing);
  CHECK(find().empty());
}

TEST_CASE_METHOD(Host, "a node that may be made and not opened is no disk") {
  want(1, "m");
  CHECK(find().empty());
}

TEST_CASE_METHOD(Host, "a device that takes no writes") {
  std::ofstream(places.sysfs / "4000:1/ro") << "1\n";
  std::ofstream(places.sysfs / "4000:2/ro") << "0\n";
  want(1, "rwm");
  mount("two", {});
  spec.mounts[0].type = "erofs";
  const auto disks = find();
  REQUIRE(disks.size() == 2);
  CHECK(disks[0].read_only);
  CHECK(disks[1].read_only);
}

}  // namespace
}  // namespace kata::storage
