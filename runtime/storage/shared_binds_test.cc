#include "runtime/storage/shared_binds.h"

#include <fstream>

#include <catch2/catch.hpp>
#include <sys/mount.h>

#include "tests/fakes/mount_namespace.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

/// A pod's share, and sources. Used in a mount namespace of its own.
struct Node {
  fakes::TemporaryDirectory directory;
  fs::path share = directory.path() / "share";
  SharedBinds binds{share, {}};

  Node() { fs::create_directories(share); }

  fs::path source(const std::string& name) const {
    fs::create_directories(directory.path() / name);
    return directory.path() / name;
  }
  std::string acquire(const fs::path& from, BindOptions options = {.recursive = true}) {
    auto place = binds.acquire(from, options, sys::read_mounts().value());
    return place ? *place : place.error().message();
  }
  bool can_write(const std::string& place) const {
    return std::ofstream(share / place / "file").put('x').flush().good();
  }
};

void bind(const fs::path& from, const fs::path& to) {
  ::mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr);
}

TEST_CASE("a source has one place for all containers") {
  Node node;
  const auto seen = fakes::in_own_mount_namespace([&] {
    const fs::path data = node.source("data");
    std::ofstream(data / "text") << "text";
    std::string out = node.acquire(data);
    out += node.acquire(data / ".");
    out += node.acquire(node.source("other"));
    out += node.acquire(data, {.recursive = false});
    for (const char* place : {".binds/0", ".binds/0", ".binds/1", ".binds/0", ".binds/0"}) {
      out += fs::exists(node.share / ".binds/0/text") ? " there" : " gone";
      (void)node.binds.release(place);
    }
    out += fs::is_empty(node.share / ".binds") ? " empty" : " not empty";
    return out + (fs::exists(data / "text") ? "" : ", with the source");
  });
  CHECK(seen == ".binds/0.binds/0.binds/1.binds/0 there there there there gone empty");
}

TEST_CASE("a place becomes writable when a container may write") {
  Node node;
  const auto seen = fakes::in_own_mount_namespace([&] {
    const fs::path data = node.source("data");
    std::string out;
    for (const bool read_only : {true, false, true}) {
      out += node.acquire(data, {.recursive = true, .read_only = read_only});
      out += node.can_write(".binds/0") ? " writable " : " read-only ";
    }
    return out;
  });
  CHECK(seen == ".binds/0 read-only .binds/0 writable .binds/0 writable ");
}

TEST_CASE("a source that is read-only on the host stays so") {
  Node node;
  const auto seen = fakes::in_own_mount_namespace([&] {
    const fs::path data = node.source("data");
    bind(data, data);
    ::mount(nullptr, data.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr);
    std::string out;
    for (const bool read_only : {true, false}) {
      out += node.acquire(data, {.recursive = true, .read_only = read_only});
      out += node.can_write(".binds/0") ? " writable " : " read-only ";
    }
    return out;
  });
  CHECK(seen == ".binds/0 read-only .binds/0 read-only ");
}

TEST_CASE("another mount of the same directory is the same source, unless something is below it") {
  Node node;
  const auto seen = fakes::in_own_mount_namespace([&] {
    const fs::path data = node.source("data");
    fs::create_directories(data / "below");
    const fs::path sub_path = node.source("sub-path");
    bind(data, sub_path);
    std::string out = node.acquire(data);
    out += node.acquire(sub_path);
    bind(node.source("other"), sub_path / "below");
    return out + node.acquire(sub_path);
  });
  CHECK(seen == ".binds/0.binds/0.binds/1");
}

TEST_CASE("a container gets what is mounted below its source by then") {
  Node node;
  const auto seen = fakes::in_own_mount_namespace([&] {
    const fs::path data = node.source("data");
    fs::create_directories(data / "below");
    std::ofstream(node.source("other") / "text") << "text";
    std::string out = node.acquire(data);
    bind(node.source("other"), data / "below");
    const std::string later = node.acquire(data);
    out += later + (fs::exists(node.share / later / "below/text") ? " there" : " not there");
    out += node.acquire(data);
    out += node.acquire(data, {.recursive = false});
    ::umount(((data / "below").c_str()));
    return out + node.acquire(data);
  });
  CHECK(seen == ".binds/0.binds/1 there.binds/1.binds/2.binds/0");
}

TEST_CASE("the root directory has mounts below") {
  Node node;
  const auto seen = fakes::in_own_mount_namespace([&] {
    ::mount("tmpfs", node.source("below").c_str(), "tmpfs", 0, nullptr);
    std::string out = node.acquire("/", {.recursive = true});
    return out += node.acquire("/", {.recursive = false});
  });
  CHECK(seen == ".binds/0.binds/1");
}

TEST_CASE("files, and sources that are not there") {
  Node node;
  const auto seen = fakes::in_own_mount_namespace([&] {
    const fs::path file = node.source("data") / "file";
    std::ofstream(file) << "text";
    const std::string place = node.acquire(file);
    std::string text;
    std::ifstream(node.share / place) >> text;
    return place + " " + text;
  });
  CHECK(seen == ".binds/0 text");
  const auto missing = node.binds.acquire("/none", {}, {});
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().code() == Code::kNotFound);
  CHECK(missing.error().message().starts_with("storage: bind mount of /none: "));
}

}  // namespace
}  // namespace kata::storage
