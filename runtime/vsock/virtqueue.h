// Device side of one split virtqueue (virtio 1.2 section 2.7) in shared guest memory.
//
// The guest may change any byte of the rings at any time. Every value is therefore read exactly
// once, checked, and used only from the local copy.
#pragma once

#include <cstdint>
#include <vector>

#include <sys/uio.h>

#include "common/error/error.h"
#include "runtime/vsock/guest_memory.h"
#include "runtime/vsock/vhost_user_protocol.h"

namespace kata::vsock {

inline constexpr uint32_t kMaxQueueSize = 32768;
/// Longest descriptor chain, direct or indirect, and the most host ranges it may become. IOV_MAX,
/// so that one chain always fits one readv or writev.
inline constexpr size_t kMaxChainRanges = 1024;

/// One buffer that the driver offers. Reused from pop to pop, so that steady traffic allocates
/// nothing. The ranges point into guest memory and are good while the memory table stands.
struct DescriptorChain {
  uint16_t head = 0;
  std::vector<iovec> ranges;
  /// Sum of the ranges, in bytes.
  uint64_t size = 0;
};

/// Configured by the vhost-user session, driven by the muxer, on one thread. An error from pop()
/// means that the driver broke the rules: the queue must not be used any more.
class Virtqueue {
 public:
  /// What the device does with this queue's buffers; a buffer of the other kind is an error.
  enum class Direction { kDeviceReads, kDeviceWrites };

  Virtqueue(const GuestMemory& memory, Direction direction)
      : memory_(memory), direction_(direction) {}

  /// InvalidArgument unless a power of two up to kMaxQueueSize.
  Status set_size(uint32_t size);
  uint16_t size() const { return size_; }
  void set_base(uint16_t next_available) { next_available_ = next_available; }
  uint16_t base() const { return next_available_; }
  void set_features(bool indirect, bool event_idx) {
    indirect_ = indirect;
    event_idx_ = event_idx;
  }
  void set_address(const VringAddress& address);
  bool has_address() const { return has_address_; }

  /// Finds the rings in guest memory; false when they are not (wholly) there or not aligned. Needed
  /// before the first use and after each change of the memory table.
  bool resolve();
  bool resolved() const { return descriptors_ != nullptr; }
  void unresolve() { descriptors_ = nullptr; }
  /// Takes over the used index that is in memory; once, when the queue starts.
  void start();
  /// Back to the state after construction.
  void reset();

  /// Takes the next offered buffer; false when there is none.
  Result<bool> pop(DescriptorChain& chain);
  /// Gives back the last `count` popped buffers: the next pop() returns the first of them again.
  void unpop(uint16_t count) { next_available_ -= count; }
  /// Returns a popped buffer with `written` bytes in it. The driver sees it after publish().
  void push(uint16_t head, uint32_t written);
  /// How many pushed buffers the driver does not see yet.
  uint16_t unpublished() const { return next_used_ - published_used_; }
  /// Shows all pushed buffers to the driver; true when it wants an interrupt for them.
  bool publish();

  /// Asks for a kick on the next offer; true when one came before that took effect.
  bool enable_kicks();
  void disable_kicks();

 private:
  struct Descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
  };
  struct UsedElement {
    uint32_t id;
    uint32_t length;
  };

  Status walk(DescriptorChain& chain);
  Status walk_indirect(const Descriptor& table, DescriptorChain& chain);
  Status append(const Descriptor& descriptor, DescriptorChain& chain);

  uint16_t* available_flags() const { return available_; }
  uint16_t* available_index() const { return available_ + 1; }
  uint16_t* available_ring() const { return available_ + 2; }
  uint16_t* used_event() const { return available_ + 2 + size_; }
  uint16_t* used_flags() const { return reinterpret_cast<uint16_t*>(used_); }
  uint16_t* used_index() const { return reinterpret_cast<uint16_t*>(used_) + 1; }
  uint8_t* used_ring() const { return used_ + 4; }
  uint16_t* available_event() const {
    return reinterpret_cast<uint16_t*>(used_ + 4 + size_ * sizeof(UsedElement));
  }

  const GuestMemory& memory_;
  Direction direction_;
  bool indirect_ = false;
  bool event_idx_ = false;
  bool has_address_ = false;
  uint16_t size_ = 0;
  VringAddress address_{};

  const uint8_t* descriptors_ = nullptr;
  uint16_t* available_ = nullptr;
  uint8_t* used_ = nullptr;

  uint16_t next_available_ = 0;
  uint16_t next_used_ = 0;
  /// The used index at the last publish(), for the driver's event index.
  uint16_t published_used_ = 0;
  bool ever_published_ = false;
  /// Where the indirect table's translation goes.
  std::vector<iovec> table_ranges_;
};

}  // namespace kata::vsock
