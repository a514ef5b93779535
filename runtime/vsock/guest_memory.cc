#include "runtime/vsock/guest_memory.h"

#include <algorithm>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"

namespace kata::vsock {
namespace {

bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) {
  return a < b + b_size && b < a + a_size;
}

bool wraps(uint64_t start, uint64_t size) {
  uint64_t end;
  return __builtin_add_overflow(start, size, &end);
}

// A mapping of pages beyond the end of the file kills the process by SIGBUS when they are touched.
// So the file must hold the region now, and must not shrink later: QEMU seals its memfds, and where
// it did not the seal is added here if the file takes seals at all.
Status check_backing(const MemoryRegion& region, const struct stat& status, int fd) {
  if (!S_ISREG(status.st_mode)) {
    return fail(Code::kInvalidArgument,
                "guest memory region {:#x} is not backed by a memory file (mode {:#o}); start QEMU "
                "with memory-backend-memfd,share=on",
                region.guest_address, status.st_mode);
  }
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals >= 0 && !(seals & F_SEAL_SHRINK)) ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
  // Only after sealing does the size stay.
  struct stat sealed;
  if (::fstat(fd, &sealed) != 0) return fail_errno("fstat of a guest memory file");
  if (region.mmap_offset + region.size > static_cast<uint64_t>(sealed.st_size)) {
    return fail(Code::kInvalidArgument,
                "guest memory region {:#x} needs {} bytes at {} of a file of {} bytes",
                region.guest_address, region.size, region.mmap_offset, sealed.st_size);
  }
  return {};
}

}  // namespace

GuestMemory::~GuestMemory() { clear(); }

void GuestMemory::clear() {
  for (const Mapping& mapping : mappings_) unmap(mapping);
  mappings_.clear();
}

void GuestMemory::unmap(const Mapping& mapping) { ::munmap(mapping.base, mapping.length); }

Result<GuestMemory::Mapping> GuestMemory::map(const MemoryRegion& region, const UniqueFd& fd) {
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) return fail_errno("fstat of a guest memory file");
  KATA_CHECK(check_backing(region, status, fd.get()));
  // hugetlbfs wants offset and length in units of its page size, which is st_blksize there.
  uint64_t unit = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t block = static_cast<uint64_t>(status.st_blksize);
  if (block > unit && (block & (block - 1)) == 0) unit = block;
  const uint64_t skipped = region.mmap_offset & (unit - 1);
  uint64_t length;
  if (__builtin_add_overflow(region.size, skipped + unit - 1, &length)) {
    return fail(Code::kInvalidArgument, "guest memory region {:#x} of {} bytes is too large",
                region.guest_address, region.size);
  }
  length &= ~(unit - 1);
  void* base = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(),
                      static_cast<off_t>(region.mmap_offset - skipped));
  if (base == MAP_FAILED) return fail_errno("map guest memory");
  ::madvise(base, length, MADV_DONTDUMP);
  return Mapping{region, base, length, static_cast<uint8_t*>(base) + skipped};
}

Status GuestMemory::check_disjoint(std::span<const MemoryRegion> regions) {
  for (const MemoryRegion& region : regions) {
    if (region.size == 0 || wraps(region.guest_address, region.size) ||
        wraps(region.user_address, region.size) || wraps(region.mmap_offset, region.size)) {
      return fail(Code::kInvalidArgument,
                  "guest memory region {:#x} of {} bytes is empty or wraps around",
                  region.guest_address, region.size);
    }
  }
  for (size_t i = 0; i < regions.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const MemoryRegion& a = regions[i];
      const MemoryRegion& b = regions[j];
      if (overlaps(a.guest_address, a.size, b.guest_address, b.size) ||
          overlaps(a.user_address, a.size, b.user_address, b.size)) {
        return fail(Code::kInvalidArgument, "guest memory regions {:#x} and {:#x} overlap",
                    a.guest_address, b.guest_address);
      }
    }
  }
  return {};
}

Status GuestMemory::replace(std::span<const MemoryRegion> regions, std::span<const UniqueFd> fds) {
  KATA_CHECK(check_disjoint(regions));
  std::vector<Mapping> mapped;
  CleanupStack cleanup;
  cleanup.add([&mapped] {
    for (const Mapping& mapping : mapped) unmap(mapping);
  });
  for (size_t i = 0; i < regions.size(); ++i) {
    KATA_TRY(Mapping mapping, map(regions[i], fds[i]));
    mapped.push_back(mapping);
  }
  // After the swap the cleanup step unmaps the old table.
  std::swap(mapped, mappings_);
  return {};
}

Status GuestMemory::add(const MemoryRegion& region, const UniqueFd& fd) {
  if (mappings_.size() >= kMaxMemorySlots) {
    return fail(Code::kInvalidArgument, "more than {} guest memory regions", kMaxMemorySlots);
  }
  std::vector<MemoryRegion> regions = current();
  regions.push_back(region);
  KATA_CHECK(check_disjoint(regions));
  KATA_TRY(Mapping mapping, map(region, fd));
  mappings_.push_back(mapping);
  return {};
}

Status GuestMemory::remove(const MemoryRegion& region) {
  auto found = std::ranges::find_if(mappings_, [&](const Mapping& mapping) {
    return mapping.region.guest_address == region.guest_address &&
           mapping.region.user_address == region.user_address && mapping.region.size == region.size;
  });
  if (found == mappings_.end()) {
    return fail(Code::kInvalidArgument, "no guest memory region {:#x} of {} bytes to remove",
                region.guest_address, region.size);
  }
  unmap(*found);
  mappings_.erase(found);
  return {};
}

std::vector<MemoryRegion> GuestMemory::current() const {
  std::vector<MemoryRegion> regions;
  for (const Mapping& mapping : mappings_) regions.push_back(mapping.region);
  return regions;
}

uint8_t* GuestMemory::from_user(uint64_t user_address, uint64_t size, size_t alignment) const {
  for (const Mapping& mapping : mappings_) {
    const uint64_t start = mapping.region.user_address;
    if (user_address < start) continue;
    const uint64_t offset = user_address - start;
    if (offset >= mapping.region.size || mapping.region.size - offset < size) continue;
    uint8_t* host = mapping.host + offset;
    return reinterpret_cast<uintptr_t>(host) % alignment == 0 ? host : nullptr;
  }
  return nullptr;
}

const GuestMemory::Mapping* GuestMemory::find(uint64_t guest_address) const {
  for (const Mapping& mapping : mappings_) {
    if (guest_address >= mapping.region.guest_address &&
        guest_address - mapping.region.guest_address < mapping.region.size) {
      return &mapping;
    }
  }
  return nullptr;
}

bool GuestMemory::translate(uint64_t guest_address, uint64_t size,
                            std::vector<iovec>& ranges) const {
  if (wraps(guest_address, size)) return false;
  while (size > 0) {
    const Mapping* mapping = find(guest_address);
    if (mapping == nullptr) return false;
    const uint64_t offset = guest_address - mapping->region.guest_address;
    const uint64_t part = std::min(size, mapping->region.size - offset);
    ranges.push_back({mapping->host + offset, part});
    guest_address += part;
    size -= part;
  }
  return true;
}

}  // namespace kata::vsock
