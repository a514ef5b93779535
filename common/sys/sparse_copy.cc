#include "common/sys/sparse_copy.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

namespace kata::sys {
namespace {

constexpr uint64_t kPageBytes = 4096;
/// Large enough that the calls do not count, small enough that a page that was read is still in the
/// cache when it is written.
constexpr uint64_t kBufferBytes = uint64_t{256} << 10;

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

Status read_at(int from, char* bytes, uint64_t size, uint64_t offset) {
  while (size > 0) {
    const ssize_t got = ::pread(from, bytes, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("copy a memory image: read");
    if (got == 0) return fail(Code::kFailedPrecondition, "copy a memory image: it became shorter");
    bytes += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<uint64_t>(got);
  }
  return {};
}

/// What of `pages`, whole ones, is not zero, to `offset`.
Status write_data(std::string_view pages, int to, uint64_t offset) {
  size_t at = 0;
  while (at < pages.size()) {
    size_t run_end = at;
    while (run_end < pages.size() && !is_zero(pages.data() + run_end)) run_end += kPageBytes;
    if (run_end > at) KATA_CHECK(write_at(to, pages.data() + at, run_end - at, offset + at));
    at = run_end + kPageBytes;  // that one is zero, or past the end
  }
  return {};
}

/// What of [begin, end), whole pages, is not zero. Not through a mapping: an image that becomes
/// shorter, or cannot be read, would end this process by SIGBUS.
Status copy_data(int from, int to, uint64_t begin, uint64_t end, std::vector<char>& buffer) {
  while (begin < end) {
    const uint64_t size = std::min(end - begin, uint64_t{buffer.size()});
    KATA_CHECK(read_at(from, buffer.data(), size, begin));
    KATA_CHECK(write_data({buffer.data(), size}, to, begin));
    begin += size;
  }
  return {};
}

}  // namespace

Status copy_sparse(int from, int to, uint64_t size_bytes) {
  if (size_bytes == 0 || size_bytes % kPageBytes != 0)
    return fail(Code::kInvalidArgument, "a memory image of {} bytes is not of whole pages",
                size_bytes);
  struct stat info {};
  if (::fstat(from, &info) != 0) return fail_errno("copy a memory image: fstat");
  if (static_cast<uint64_t>(info.st_size) < size_bytes)
    return fail(Code::kFailedPrecondition, "copy a memory image: it has {} bytes, not {}",
                info.st_size, size_bytes);
  std::vector<char> buffer(kBufferBytes);
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
    KATA_CHECK(copy_data(from, to, begin, std::min(end, size_bytes), buffer));
    position = hole;
  }
  return {};
}

}  // namespace kata::sys
