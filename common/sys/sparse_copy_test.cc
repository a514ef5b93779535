#include "common/sys/sparse_copy.h"

#include <string>
#include <thread>

#include <catch2/catch.hpp>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/unique_fd.h"

namespace kata::sys {
namespace {

constexpr uint64_t kPage = 4096;

UniqueFd memory_of(uint64_t pages) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  REQUIRE(fd);
  REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(pages * kPage)) == 0);
  return fd;
}

void put(const UniqueFd& fd, uint64_t offset, const std::string& text) {
  REQUIRE(::pwrite(fd.get(), text.data(), text.size(), static_cast<off_t>(offset)) ==
          static_cast<ssize_t>(text.size()));
}

std::string content(const UniqueFd& fd, uint64_t pages) {
  std::string bytes(pages * kPage, '?');
  REQUIRE(::pread(fd.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return bytes;
}

uint64_t held_pages(const UniqueFd& fd) {
  struct stat info {};
  REQUIRE(::fstat(fd.get(), &info) == 0);
  return static_cast<uint64_t>(info.st_blocks) * 512 / kPage;
}

TEST_CASE("a memory image is copied without holes and zeros") {
  constexpr uint64_t kPages = 1024;
  const UniqueFd from = memory_of(kPages);
  put(from, 0, "first");
  put(from, 3 * kPage, std::string(2 * kPage, '\0'));    // there, but zeros
  put(from, 5 * kPage - 1, "x");                         // the last byte of a page
  put(from, 10 * kPage, std::string(600 * kPage, 'a'));  // longer than a run
  put(from, (kPages - 1) * kPage + kPage - 4, "last");
  const UniqueFd to = memory_of(kPages);
  REQUIRE(copy_sparse(from.get(), to.get(), kPages * kPage));
  CHECK(content(to, kPages) == content(from, kPages));
  CHECK(held_pages(to) == 1 + 1 + 600 + 1);
  CHECK(held_pages(from) == held_pages(to) + 1);
}

TEST_CASE("an image of nothing") {
  const UniqueFd from = memory_of(8);
  const UniqueFd to = memory_of(8);
  REQUIRE(copy_sparse(from.get(), to.get(), 8 * kPage));
  CHECK(held_pages(to) == 0);
}

TEST_CASE("a size that is no memory's") {
  const UniqueFd from = memory_of(1);
  CHECK(copy_sparse(from.get(), from.get(), 0).error().code() == Code::kInvalidArgument);
  CHECK(copy_sparse(from.get(), from.get(), 100).error().code() == Code::kInvalidArgument);
}

TEST_CASE("an image that is too short") {
  const UniqueFd from = memory_of(2);
  put(from, 0, "short");
  const UniqueFd to = memory_of(8);
  CHECK(copy_sparse(from.get(), to.get(), 8 * kPage).error().code() == Code::kFailedPrecondition);
}

TEST_CASE("an image that becomes shorter while it is copied") {
  constexpr uint64_t kPages = 4096;
  const UniqueFd from = memory_of(kPages);
  const std::string full(kPages * kPage, 'a');
  put(from, 0, full);
  std::jthread other([&](const std::stop_token& ended) {
    while (!ended.stop_requested())
      if (::ftruncate(from.get(), 0) != 0 || ::pwrite(from.get(), full.data(), full.size(), 0) < 0)
        return;
  });
  for (int i = 0; i < 20; ++i) {
    const UniqueFd to = memory_of(kPages);
    const Status copied = copy_sparse(from.get(), to.get(), kPages * kPage);
    if (!copied) CHECK(copied.error().code() == Code::kFailedPrecondition);
  }
}

}  // namespace
}  // namespace kata::sys
