#include "agent/storage/hugepages.h"

#include <fstream>

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include "tests/fakes/mount_namespace.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMib = 1024 * 1024;

/// A kernel's pages of 2 MiB, of which it gives as many as it is told.
class Pool {
 public:
  explicit Pool(int at_boot) {
    fs::create_directory(pages());
    std::ofstream(pages() / "nr_hugepages") << at_boot << "\n";
    std::ofstream(pages() / "nr_overcommit_hugepages") << "0\n";
  }
  fs::path sysfs() const { return directory_.path(); }
  int count(const char* file = "nr_hugepages") const {
    int number = -1;
    std::ifstream(pages() / file) >> number;
    return number;
  }

 private:
  fs::path pages() const { return directory_.path() / "hugepages-2048kB"; }

  const fakes::TemporaryDirectory directory_;
};

TEST_CASE("pages are set aside for all containers together") {
  const Pool pool(0);
  Hugepages pages(pool.sysfs());
  CHECK(pages.reserve("one", {{"2MB", 8 * kMib}, {"1GB", 0}}));
  CHECK(pool.count() == 4);
  CHECK(pages.reserve("two", {{"2MB", 3 * kMib}}));
  CHECK(pool.count() == 6);
  CHECK(pages.reserve("one", {}));
  CHECK(pool.count() == 6);
  CHECK(pages.reserve("one", {{"2MB", 2 * kMib}}));
  CHECK(pool.count() == 3);
  pages.release("one");
  pages.release("one");
  CHECK(pool.count() == 2);
  pages.release("two");
  CHECK(pool.count() == 0);
}

TEST_CASE("what the kernel has set aside at boot stays") {
  const Pool pool(5);
  Hugepages pages(pool.sysfs());
  CHECK(pages.reserve("one", {{"2MB", 8 * kMib}}));
  CHECK(pool.count() == 5);
  CHECK(pages.reserve("two", {{"2MB", 8 * kMib}}));
  CHECK(pool.count() == 8);
  pages.release("one");
  pages.release("two");
  CHECK(pool.count() == 5);
}

TEST_CASE("pages on demand") {
  const Pool pool(0);
  Hugepages pages(pool.sysfs());
  CHECK(pages.make_on_demand());
  CHECK(pool.count() == 0);
  CHECK(pool.count("nr_overcommit_hugepages") > 0);

  oci::Spec spec;
  CHECK_FALSE(wants_hugepages_on_demand(spec, false));
  CHECK(wants_hugepages_on_demand(spec, true));
  spec.mounts.emplace_back().type = "hugetlbfs";
  CHECK(wants_hugepages_on_demand(spec, false));
  spec.linux.resources.hugepage_limits = {{"2MB", 0}};
  CHECK(wants_hugepages_on_demand(spec, false));
  spec.linux.resources.hugepage_limits = {{"2MB", 1}};
  CHECK_FALSE(wants_hugepages_on_demand(spec, true));
}

TEST_CASE("a volume is mounted once") {
  if (!fs::exists("/sys/kernel/mm/hugepages/hugepages-2048kB")) {
    WARN("this host has no huge pages of 2 MiB");
    return;
  }
  const fakes::TemporaryDirectory directory;
  const auto seen = fakes::in_own_mount_namespace([&] {
    Hugepages pages("/none", directory.path());
    const HugepageVolume volume{.name = "1f-2",
                                .page_bytes = 2 * kMib,
                                .size_bytes = 8 * kMib,
                                .mode = 01770,
                                .uid = 11,
                                .gid = 12};
    if (Status mounted = pages.mount(volume); !mounted) return mounted.error().message();
    struct stat first {};
    struct stat second {};
    ::stat((directory.path() / "1f-2").c_str(), &first);
    if (Status again = pages.mount(volume); !again) return again.error().message();
    ::stat((directory.path() / "1f-2").c_str(), &second);
    return fmt::format("{:o} {}:{} {} {}", first.st_mode & 07777, first.st_uid, first.st_gid,
                       first.st_blksize, first.st_dev == second.st_dev ? "same" : "other");
  });
  CHECK(seen == "1770 11:12 2097152 same");
}

TEST_CASE("a volume's name is one") {
  const fakes::TemporaryDirectory directory;
  Hugepages pages("/none", directory.path());
  for (const char* name : {"", "..", "a/b"})
    CHECK(pages.mount({.name = name, .page_bytes = 2 * kMib}).error().code() ==
          Code::kInvalidArgument);
}

}  // namespace
}  // namespace kata::storage
