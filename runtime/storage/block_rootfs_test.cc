#include "runtime/storage/block_rootfs.h"

#include <fstream>

#include <catch2/catch.hpp>

#include "tests/fakes/temporary_directory.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;
using Options = std::vector<std::string>;

sys::MountEntry entry(std::string type, const fs::path& source, Options options) {
  sys::MountEntry mount;
  mount.type = std::move(type);
  mount.source = source;
  mount.options = std::move(options);
  return mount;
}

/// A directory of snapshots as the erofs snapshotter leaves it.
struct Snapshots {
  fs::path root() const { return directory.path(); }
  fs::path make_layer(const std::string& id) const {
    fs::create_directories(root() / id / "fs");
    std::ofstream(root() / id / ".erofslayer");
    std::ofstream(root() / id / "layer.erofs") << "layer";
    return root() / id / "fs";
  }
  fs::path make_active(const std::string& id) const {
    fs::create_directories(root() / id / "fs");
    fs::create_directories(root() / id / "work");
    return root() / id;
  }
  fakes::TemporaryDirectory directory;
};

TEST_CASE_METHOD(Snapshots, "an image file that the host would loop-mount is a disk") {
  const fs::path image = root() / "image";
  std::ofstream(image) << "image";
  const auto found = find_block_rootfs({entry("ext4", image, {"loop", "rw", "discard"})});
  REQUIRE(found);
  REQUIRE(found->disks.size() == 1);
  CHECK(found->disks[0].file == image);
  CHECK(found->disks[0].fs_type == "ext4");
  CHECK_FALSE(found->disks[0].read_only);
  CHECK(found->disks[0].options == Options{"rw", "discard"});
  CHECK(found->writable.empty());

  const auto view = find_block_rootfs({entry("erofs", image, {"ro", "loop"})});
  REQUIRE(view);
  CHECK(view->disks[0].read_only);
  CHECK(find_block_rootfs({entry("ext4", image, {"loop", "ro"})})->disks[0].read_only);
}

TEST_CASE_METHOD(Snapshots, "what the guest could not mount stays the host's") {
  const fs::path image = root() / "image";
  std::ofstream(image) << "image";
  CHECK_FALSE(find_block_rootfs({}));
  CHECK_FALSE(find_block_rootfs({entry("bind", root(), {"rbind", "rw"})}));
  CHECK_FALSE(find_block_rootfs({entry("btrfs", image, {"loop"})}));
  CHECK_FALSE(find_block_rootfs({entry("ext4", image, {"rw"})}));
  CHECK_FALSE(find_block_rootfs({entry("ext4", root() / "missing", {"loop"})}));
  CHECK_FALSE(find_block_rootfs({entry("ext4", root(), {"loop"})}));
  CHECK_FALSE(find_block_rootfs({entry("ext4", "/dev/null", {"loop"})}));
  CHECK_FALSE(find_block_rootfs({entry("ext4", image, {"loop"}), entry("ext4", image, {"loop"})}));
}

TEST_CASE_METHOD(Snapshots, "an overlay of the erofs snapshotter's layers") {
  const std::string lower = "lowerdir=" + make_layer("2").native() + ":" + make_layer("1").native();
  const fs::path active = make_active("3");
  const auto found =
      find_block_rootfs({entry("overlay", "overlay",
                               {"workdir=" + (active / "work").native(),
                                "upperdir=" + (active / "fs").native(), lower, "index=off"})});
  REQUIRE(found);
  REQUIRE(found->disks.size() == 2);
  CHECK(found->disks[0].file == root() / "2/layer.erofs");
  CHECK(found->disks[1].file == root() / "1/layer.erofs");
  CHECK(found->disks[1].read_only);
  CHECK(found->disks[1].fs_type == "erofs");
  CHECK(found->writable == active);
  CHECK(found->upper == "fs");
  CHECK(found->work == "work");

  const auto view = find_block_rootfs({entry("overlay", "overlay", {lower})});
  REQUIRE(view);
  CHECK(view->disks.size() == 2);
  CHECK(view->writable.empty());
}

TEST_CASE_METHOD(Snapshots, "an overlay of other directories is not taken for one") {
  const fs::path layer = make_layer("1");
  const fs::path plain = make_active("2") / "fs";
  const auto overlay = [](const std::string& lower, Options options = {}) {
    options.push_back("lowerdir=" + lower);
    return find_block_rootfs({entry("overlay", "overlay", std::move(options))});
  };
  REQUIRE(overlay(layer));
  CHECK_FALSE(overlay(plain));
  CHECK_FALSE(overlay(layer.native() + ":" + plain.native()));
  CHECK_FALSE(overlay(layer.native() + ":"));
  CHECK_FALSE(overlay("1/fs"));
  CHECK_FALSE(overlay(""));
  CHECK_FALSE(overlay(layer, {"upperdir=/a/fs", "workdir=/b/work"}));
  fs::remove(root() / "1/layer.erofs");
  fs::create_directory(root() / "1/layer.erofs");
  CHECK_FALSE(overlay(layer));
}

}  // namespace
}  // namespace kata::storage
