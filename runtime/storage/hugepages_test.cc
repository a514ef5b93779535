#include "runtime/storage/hugepages.h"

#include <catch2/catch.hpp>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fakes/mount_namespace.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

TEST_CASE("a directory of huge pages, as it is on the host") {
  const fakes::TemporaryDirectory directory;
  if (!fs::exists("/sys/kernel/mm/hugepages/hugepages-2048kB")) {
    WARN("this host has no huge pages of 2 MiB");
    return;
  }
  const auto seen = fakes::in_own_mount_namespace([&] {
    if (::mount("nodev", directory.path().c_str(), "hugetlbfs", 0,
                "pagesize=2M,size=8M,mode=1770,uid=11,gid=12") != 0)
      return fmt::format("mount: {}", strerrordesc_np(errno));
    fs::create_directory(directory.path() / "sub");
    auto whole = find_hugepage_volume(directory.path());
    auto sub = find_hugepage_volume(directory.path() / "sub");
    if (!whole || !*whole || !sub || !*sub) return std::string("not found");
    return fmt::format("{} {} {:o} {}:{} {} {}", (*whole)->page_bytes, (*whole)->size_bytes,
                       (*whole)->mode, (*whole)->uid, (*whole)->gid,
                       (*whole)->name == (*sub)->name ? "same" : "other", (*sub)->page_bytes);
  });
  CHECK(seen == "2097152 8388608 1770 11:12 other 2097152");
}

TEST_CASE("what is no directory of huge pages") {
  const fakes::TemporaryDirectory directory;
  CHECK(find_hugepage_volume(directory.path()).value() == std::nullopt);
  CHECK(find_hugepage_volume(directory.path() / "missing").value() == std::nullopt);
}

}  // namespace
}  // namespace kata::storage
