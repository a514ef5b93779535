#include "agent/storage/share_mounts.h"

#include <filesystem>

#include <catch2/catch.hpp>
#include <sys/mount.h>

#include "tests/fakes/mount_namespace.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;
using Paths = std::vector<std::string>;

TEST_CASE("places of a share, each once, whatever of them is used") {
  ShareMounts mounts;
  CHECK(mounts.acquire({"/share"}, {"/share/.binds/1", "/share/.binds/1/upper", "/share/.binds/0",
                                    "/share/c1/rootfs", "/share/.binds", "/other/.binds/1", ""}) ==
        Paths{"/share/.binds/0", "/share/.binds/1"});
  CHECK(mounts.acquire({}, {"/share/.binds/1"}).empty());
}

TEST_CASE("what is mounted at a place goes with the last that has it") {
  const fakes::TemporaryDirectory directory;
  const auto seen = fakes::in_own_mount_namespace([&] {
    const fs::path place = directory.path() / ".binds/0";
    fs::create_directories(place);
    ::mount("tmpfs", place.c_str(), "tmpfs", 0, nullptr);
    fs::create_directory(place / "below");
    ShareMounts mounts;
    const auto acquire = [&] { return mounts.acquire({directory.path()}, {place / "file"}); };
    Paths first = acquire();
    Paths second = acquire();
    std::string out;
    for (Paths* places : {&first, &first, &second}) {
      mounts.release(*places);
      out += fs::exists(place / "below") ? "there " : "gone ";
    }
    return out;
  });
  CHECK(seen == "there there gone ");
}

}  // namespace
}  // namespace kata::storage
