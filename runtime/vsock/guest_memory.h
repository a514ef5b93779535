// The guest's RAM as the vhost-user front end shares it: mappings and address translation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <sys/uio.h>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "runtime/vsock/vhost_user_protocol.h"

namespace kata::vsock {

/// Regions that SET_MEM_TABLE and ADD_MEM_REG may bring together.
inline constexpr size_t kMaxMemorySlots = 64;

/// Owns the mappings of all regions. Used on one thread. Pointers it returns are good until the
/// next replace(), add(), remove() or clear(). Addresses and sizes may be anything: they come from
/// the guest (descriptors) or from QEMU (tables).
class GuestMemory {
 public:
  GuestMemory() = default;
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;
  ~GuestMemory();

  /// Maps all of `regions` (fds[i] backs regions[i]) and only then drops the old table; on an error
  /// the old table stays.
  Status replace(std::span<const MemoryRegion> regions, std::span<const UniqueFd> fds);
  Status add(const MemoryRegion& region, const UniqueFd& fd);
  Status remove(const MemoryRegion& region);
  void clear();

  /// `size` bytes at a front-end (user) address inside one region and aligned to `alignment`;
  /// nullptr otherwise.
  uint8_t* from_user(uint64_t user_address, uint64_t size, size_t alignment) const;

  /// Appends the host ranges of `size` bytes at a guest-physical address, which may continue from
  /// one region into the next. False when any byte is outside; `ranges` is then of no use.
  bool translate(uint64_t guest_address, uint64_t size, std::vector<iovec>& ranges) const;

 private:
  struct Mapping {
    MemoryRegion region;
    void* base;
    size_t length;
    uint8_t* host;  // of region.guest_address
  };

  static Result<Mapping> map(const MemoryRegion& region, const UniqueFd& fd);
  static void unmap(const Mapping& mapping);
  static Status check_disjoint(std::span<const MemoryRegion> regions);
  std::vector<MemoryRegion> current() const;
  const Mapping* find(uint64_t guest_address) const;

  std::vector<Mapping> mappings_;
};

}  // namespace kata::vsock
