#include "runtime/storage/direct_volumes.h"

#include <fstream>

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include "tests/fakes/mount_namespace.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVolume = "/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/pvc-1/mount";

struct Node {
  Node() { std::ofstream(image) << "disk"; }
  std::string info(const std::string& more = "") const {
    return fmt::format(R"({{"volume-type": "block", "device": "{}", "fstype": "ext4"{}}})",
                       image.native(), more);
  }
  std::string refusal(const std::string& mount_info) const {
    Status added = add_direct_volume(kVolume, mount_info, root);
    REQUIRE_FALSE(added);
    CHECK_FALSE(fs::exists(root));
    return added.error().message();
  }
  std::optional<DirectVolume> find(std::string_view path = kVolume) const {
    auto found = find_direct_volume(path, root);
    REQUIRE(found);
    return *found;
  }

  fakes::TemporaryDirectory directory;
  fs::path root = directory.path() / "shared" / "direct-volumes";
  fs::path image = directory.path() / "image";
};

TEST_CASE_METHOD(Node, "a volume is found under the name that Kata gives it") {
  // As Go's base64.URLEncoding has it: padded, with '-' and '_'.
  REQUIRE(add_direct_volume("/a~b?c>", info(), root));
  CHECK(fs::exists(root / "L2F-Yj9jPg==" / "mountInfo.json"));
  CHECK(find("/a~b?c>"));
  CHECK_FALSE(find("/a~b?c"));
  CHECK_FALSE(find("/" + std::string(4000, 'x')));
}

TEST_CASE_METHOD(Node, "what is said of a volume") {
  REQUIRE(add_direct_volume(kVolume, info(R"(, "options": ["noatime", "ro"])"), root));
  const auto volume = find();
  REQUIRE(volume);
  CHECK(volume->device == image);
  CHECK(volume->fs_type == "ext4");
  CHECK(volume->options == std::vector<std::string>{"noatime", "ro"});
  CHECK_FALSE(volume->fs_group);
  struct stat directory_info;
  REQUIRE(stat(root.c_str(), &directory_info) == 0);
  CHECK((directory_info.st_mode & ACCESSPERMS) == S_IRWXU);
}

TEST_CASE_METHOD(Node, "the group of a volume") {
  REQUIRE(add_direct_volume(kVolume, info(R"(, "metadata": {"fsGroup": "1000"})"), root));
  CHECK(find()->fs_group == FsGroup{.id = 1000});
  REQUIRE(add_direct_volume(
      kVolume,
      info(R"(, "metadata": {"fsGroup": "1000", "fsGroupChangePolicy": "OnRootMismatch"})"), root));
  CHECK(find()->fs_group == FsGroup{.id = 1000, .only_on_root_mismatch = true});
}

TEST_CASE_METHOD(Node, "Kata's own sample: no type, and a capital letter") {
  REQUIRE(add_direct_volume(
      kVolume, fmt::format(R"({{"Device": "{}", "fstype": "ext4"}})", image.native()), root));
  CHECK(find()->device == image);
}

TEST_CASE_METHOD(Node, "a link to a device is followed") {
  fs::create_symlink("image", directory.path() / "by-id");
  const fs::path link = directory.path() / "by-id";
  REQUIRE(add_direct_volume(
      kVolume, fmt::format(R"({{"device": "{}", "fstype": "ext4"}})", link.native()), root));
  CHECK(find()->device == image);
}

TEST_CASE_METHOD(Node, "what is not understood is refused by name, and nothing is left") {
  CHECK(refusal("[]") == "mount info: it is not a JSON object");
  CHECK(refusal("{") == "mount info: it is not a JSON object");
  CHECK(refusal(R"({"volume-type": "spdkvol"})") ==
        R"(mount info: volume-type: "spdkvol" is not supported, only "block")");
  CHECK(refusal(R"({"fstype": 1})") == "mount info: fstype: it has to be a string");
  CHECK(refusal(R"({"device": "/dev/null"})") == "mount info: fstype: missing");
  CHECK(refusal(R"({"fstype": "ext4"})") == R"(mount info: device: "" is no absolute path)");
  CHECK(refusal(R"({"fstype": "ext4", "device": "/dev/null"})") ==
        "mount info: device: /dev/null is neither a block device nor an image file");
  CHECK(refusal(info(R"(, "options": "ro")")) ==
        "mount info: options: it has to be a list of strings");
  CHECK(refusal(info(R"(, "metadata": {"fsGroup": "-1"})")) ==
        R"(mount info: metadata.fsGroup: "-1" is no group id)");
  CHECK(refusal(info(R"(, "metadata": {"fsGroup": "4294967295"})")) ==
        R"(mount info: metadata.fsGroup: "4294967295" is no group id)");
  CHECK(refusal(info(R"(, "metadata": {"fsGroupChangePolicy": "Never"})")) ==
        "mount info: metadata.fsGroupChangePolicy: \"Never\" is neither Always nor OnRootMismatch");
  CHECK(refusal(info(R"(, "metadata": {"encryptionKey": "x"})")) ==
        "mount info: metadata.encryptionKey: it is not supported");
  CHECK_THAT(refusal(std::string(1 << 20, ' ')), Catch::Contains("larger than 65536 bytes"));
}

TEST_CASE_METHOD(Node, "a device that has gone") {
  REQUIRE(add_direct_volume(kVolume, info(), root));
  fs::remove(image);
  const auto found = find_direct_volume(kVolume, root);
  REQUIRE_FALSE(found);
  CHECK(found.error().code() == Code::kNotFound);
  CHECK_THAT(found.error().message(), Catch::Contains(kVolume) && Catch::Contains("device: "));
}

TEST_CASE_METHOD(Node, "a volume is removed, as often as somebody likes") {
  CHECK(remove_direct_volume(kVolume, root));
  REQUIRE(add_direct_volume(kVolume, info(), root));
  for (const char* wrong : {"", "pvc-1", "../x"})
    CHECK(remove_direct_volume(wrong, root).error().code() == Code::kInvalidArgument);
  CHECK(find());
  CHECK(remove_direct_volume(kVolume, root));
  CHECK_FALSE(find());
  CHECK(fs::is_empty(root));
}

TEST_CASE_METHOD(Node, "directories in a volume are the host's, and refused") {
  const fs::path volume = directory.path() / "volume";
  const fs::path bound = directory.path() / "bound";
  fs::create_directories(volume / "sub" / "deep");
  fs::create_directories(bound);
  fs::create_directory_symlink(volume / "sub", directory.path() / "link");
  const auto check = [&](const fs::path& source) {
    return check_not_in_direct_volume(source, root);
  };
  CHECK(check(volume / "sub"));
  REQUIRE(add_direct_volume(volume.native(), info(), root));
  const Status refused = check(volume / "sub" / "deep");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Code::kFailedPrecondition);
  CHECK_THAT(refused.error().message(),
             Catch::Contains("below " + volume.native() + ", whose file system only the guest"));
  CHECK_FALSE(check(directory.path() / "link"));
  CHECK(check(directory.path()));
  CHECK(check(bound));
  CHECK(check(volume / "missing"));
  const auto of_bind = fakes::in_own_mount_namespace([&] {
    ::mount((volume / "sub").c_str(), bound.c_str(), nullptr, MS_BIND, nullptr);
    Status found = check(bound / "deep");
    return found ? std::string("accepted") : found.error().message();
  });
  CHECK_THAT(of_bind, Catch::Contains("below " + volume.native()));
}

}  // namespace
}  // namespace kata::storage
