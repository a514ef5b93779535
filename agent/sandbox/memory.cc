#include "agent/sandbox/memory.h"

#include <algorithm>
#include <vector>

#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "common/sys/file.h"

namespace kata::sandbox {
namespace {

/// So that the OOM killer is never near.
constexpr size_t kReserveBytes = size_t{16} << 20;
constexpr size_t kChunkBytes = size_t{1} << 20;

}  // namespace

Status give_back_memory() {
  KATA_CHECK(sys::write_existing("/proc/sys/vm/drop_caches", "3"));
  struct sysinfo memory {};
  if (sysinfo(&memory) != 0) return fail_errno("sysinfo");
  const size_t free_bytes = memory.freeram * memory.mem_unit;
  if (free_bytes <= kReserveBytes) return {};
  // The kernel hands out anonymous pages as zeros; freed again, they stay so until they are used.
  std::vector<void*> chunks((free_bytes - kReserveBytes) / kChunkBytes);
  // What cannot be had is not free.
  for (void*& chunk : chunks)
    chunk = mmap(nullptr, kChunkBytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  for (void* chunk : chunks)
    if (chunk != MAP_FAILED) munmap(chunk, kChunkBytes);
  return {};
}

}  // namespace kata::sandbox
