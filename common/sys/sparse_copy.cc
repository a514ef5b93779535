#include "common/sys/sparse_copy.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

#include "common/base/cleanup.h"

namespace kata::sys {
namespace {

constexpr uint64_t kPageBytes = 4096;
/// Large enough that the calls do not count, small enough that a page looked at is still in the
/// cache when it is copied.
constexpr uint64_t kMaxRunBytes = uint64_t{1} << 20;

bool is_zero(const char* page) {
  return page[0] == 0 && std::memcmp(page, page + 1, kPageBytes - 1) == 0;
}

Status write_at(int to, const char* bytes, uint64_t size, uint64_t offset) {
  while (size > 0) {
    const ssize_t written = ::pwrite(to, bytes, size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno("copy a memory image: write");
    bytes += written;
    offset += static_cast<uint64_t>(written);
    size -= static_cast<uint64_t>(written);
  }
  return {};
}

/// What of [begin, end), whole pages of `image`, is not zero.
Status copy_data(const char* image, int to, uint64_t begin, uint64_t end) {
  while (begin < end) {
    if (is_zero(image + begin)) {
      begin += kPageBytes;
      continue;
    }
    uint64_t run_end = begin + kPageBytes;
    const uint64_t most = std::min(end, begin + kMaxRunBytes);
    while (run_end < most && !is_zero(image + run_end)) run_end += kPageBytes;
    KATA_CHECK(write_at(to, image + begin, run_end - begin, begin));
    begin = run_end;
  }
  return {};
}

}  // namespace

Status copy_sparse(int from, int to, uint64_t size_bytes) {
  if (size_bytes == 0 || size_bytes % kPageBytes != 0)
    return fail(Code::kInvalidArgument, "a memory image of {} bytes is not of whole pages",
                size_bytes);
  void* mapped = ::mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, from, 0);
  if (mapped == MAP_FAILED) return fail_errno("copy a memory image: map");
  CleanupStack cleanup;
  cleanup.add([=] { ::munmap(mapped, size_bytes); });
  off_t position = 0;
  while (static_cast<uint64_t>(position) < size_bytes) {
    const off_t data = ::lseek(from, position, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // a hole up to the end
    if (data < 0) return fail_errno("copy a memory image: find data");
    const off_t hole = ::lseek(from, data, SEEK_HOLE);
    if (hole < 0) return fail_errno("copy a memory image: find a hole");
    // File systems with larger blocks report whole ones, smaller ones do not matter: RAM is pages.
    const uint64_t begin = static_cast<uint64_t>(data) / kPageBytes * kPageBytes;
    const uint64_t end = (static_cast<uint64_t>(hole) + kPageBytes - 1) / kPageBytes * kPageBytes;
    KATA_CHECK(copy_data(static_cast<const char*>(mapped), to, begin, std::min(end, size_bytes)));
    position = hole;
  }
  return {};
}

}  // namespace kata::sys
