#include "runtime/vsock/virtqueue.h"

#include <cstring>
#include <utility>

namespace kata::vsock {
namespace {

constexpr uint16_t kDescriptorNext = 1;
constexpr uint16_t kDescriptorWrite = 2;
constexpr uint16_t kDescriptorIndirect = 4;
constexpr uint16_t kAvailableNoInterrupt = 1;
constexpr uint16_t kUsedNoNotify = 1;

// The barrier tells the compiler that guest memory may change from here on, so that it cannot read
// a value again where the local copy is used.
template <typename T>
T read_once(const uint8_t* source) {
  T value;
  std::memcpy(&value, source, sizeof(T));
  asm volatile("" ::: "memory");
  return value;
}

uint16_t load(const uint16_t* source, int order) { return __atomic_load_n(source, order); }
void store(uint16_t* target, uint16_t value, int order) { __atomic_store_n(target, value, order); }

// virtio 1.2 section 2.7.7.1: whether the step from `old` to `now` passes the driver's event index.
bool passes_event(uint16_t event, uint16_t now, uint16_t old) {
  return static_cast<uint16_t>(now - event - 1) < static_cast<uint16_t>(now - old);
}

}  // namespace

Status Virtqueue::set_size(uint32_t size) {
  if (size == 0 || size > kMaxQueueSize || (size & (size - 1)) != 0) {
    return fail(Code::kInvalidArgument, "a virtqueue of {} entries: not a power of two up to {}",
                size, kMaxQueueSize);
  }
  size_ = static_cast<uint16_t>(size);
  unresolve();
  return {};
}

void Virtqueue::set_address(const VringAddress& address) {
  address_ = address;
  has_address_ = true;
  unresolve();
}

bool Virtqueue::resolve() {
  unresolve();
  if (size_ == 0 || !has_address_) return false;
  // Both rings end in an event index, whether or not it is negotiated.
  const uint64_t entries = size_;
  uint8_t* descriptors = memory_.from_user(address_.descriptors, entries * sizeof(Descriptor), 16);
  uint8_t* available = memory_.from_user(address_.available, 6 + entries * sizeof(uint16_t), 2);
  uint8_t* used = memory_.from_user(address_.used, 6 + entries * sizeof(UsedElement), 4);
  if (descriptors == nullptr || available == nullptr || used == nullptr) return false;
  descriptors_ = descriptors;
  available_ = reinterpret_cast<uint16_t*>(available);
  used_ = used;
  return true;
}

void Virtqueue::start() {
  next_used_ = load(used_index(), __ATOMIC_RELAXED);
  published_used_ = next_used_;
  ever_published_ = false;
}

void Virtqueue::reset() {
  unresolve();
  indirect_ = event_idx_ = has_address_ = false;
  size_ = next_available_ = next_used_ = published_used_ = 0;
  ever_published_ = false;
}

Result<bool> Virtqueue::pop(DescriptorChain& chain) {
  const uint16_t offered = load(available_index(), __ATOMIC_ACQUIRE);
  const uint16_t waiting = static_cast<uint16_t>(offered - next_available_);
  if (waiting == 0) return false;
  if (waiting > size_) {
    return fail(Code::kInvalidArgument,
                "the driver's available index jumped from {} to {} in a queue of {}",
                next_available_, offered, size_);
  }
  chain.head = load(available_ring() + (next_available_ & (size_ - 1)), __ATOMIC_RELAXED);
  chain.ranges.clear();
  chain.size = 0;
  KATA_CHECK(walk(chain));
  ++next_available_;
  return true;
}

Status Virtqueue::walk(DescriptorChain& chain) {
  uint16_t index = chain.head;
  // A chain that is longer than the queue visits a descriptor twice: it loops.
  for (uint32_t steps = 0; steps < size_; ++steps) {
    if (index >= size_) {
      return fail(Code::kInvalidArgument, "descriptor {} in a queue of {}", index, size_);
    }
    const auto descriptor = read_once<Descriptor>(descriptors_ + index * sizeof(Descriptor));
    if (descriptor.flags & kDescriptorIndirect) return walk_indirect(descriptor, chain);
    KATA_CHECK(append(descriptor, chain));
    if (!(descriptor.flags & kDescriptorNext)) return {};
    index = descriptor.next;
  }
  return fail(Code::kInvalidArgument, "a descriptor chain loops (head {})", chain.head);
}

Status Virtqueue::walk_indirect(const Descriptor& table, DescriptorChain& chain) {
  const uint32_t count = table.length / sizeof(Descriptor);
  if (!indirect_ || (table.flags & kDescriptorNext) || count == 0 || count > kMaxChainRanges ||
      table.length % sizeof(Descriptor) != 0) {
    return fail(Code::kInvalidArgument, "an indirect table of {} bytes with flags {:#x}",
                table.length, table.flags);
  }
  table_ranges_.clear();
  if (!memory_.translate(table.address, table.length, table_ranges_) || table_ranges_.size() != 1) {
    return fail(Code::kInvalidArgument, "an indirect table at {:#x}, outside guest memory",
                table.address);
  }
  const auto* entries = static_cast<const uint8_t*>(table_ranges_.front().iov_base);
  uint32_t index = 0;
  for (uint32_t steps = 0; steps < count; ++steps) {
    if (index >= count) {
      return fail(Code::kInvalidArgument, "descriptor {} in an indirect table of {}", index, count);
    }
    const auto descriptor = read_once<Descriptor>(entries + index * sizeof(Descriptor));
    if (descriptor.flags & kDescriptorIndirect) {
      return fail(Code::kInvalidArgument, "an indirect table inside an indirect table");
    }
    KATA_CHECK(append(descriptor, chain));
    if (!(descriptor.flags & kDescriptorNext)) return {};
    index = descriptor.next;
  }
  return fail(Code::kInvalidArgument, "an indirect descriptor chain loops (head {})", chain.head);
}

Status Virtqueue::append(const Descriptor& descriptor, DescriptorChain& chain) {
  const bool device_writes = (descriptor.flags & kDescriptorWrite) != 0;
  if (device_writes != (direction_ == Direction::kDeviceWrites)) {
    return fail(Code::kInvalidArgument, "a {} descriptor in the {} queue",
                device_writes ? "device-writable" : "device-readable",
                direction_ == Direction::kDeviceWrites ? "receive" : "transmit");
  }
  if (!memory_.translate(descriptor.address, descriptor.length, chain.ranges)) {
    return fail(Code::kInvalidArgument, "a buffer of {} bytes at {:#x}, outside guest memory",
                descriptor.length, descriptor.address);
  }
  if (chain.ranges.size() > kMaxChainRanges) {
    return fail(Code::kInvalidArgument, "a descriptor chain of more than {} parts",
                kMaxChainRanges);
  }
  chain.size += descriptor.length;
  return {};
}

void Virtqueue::push(uint16_t head, uint32_t written) {
  const UsedElement element{head, written};
  std::memcpy(used_ring() + (next_used_ & (size_ - 1)) * sizeof(element), &element,
              sizeof(element));
  ++next_used_;
}

bool Virtqueue::publish() {
  if (next_used_ == published_used_) return false;
  // Sequentially consistent: the index must be visible before the driver's wish for an interrupt is
  // read, because the driver writes its wish and then looks at the index.
  store(used_index(), next_used_, __ATOMIC_SEQ_CST);
  const uint16_t old = std::exchange(published_used_, next_used_);
  const bool first = !std::exchange(ever_published_, true);
  if (!event_idx_) return !(load(available_flags(), __ATOMIC_SEQ_CST) & kAvailableNoInterrupt);
  return first || passes_event(load(used_event(), __ATOMIC_SEQ_CST), next_used_, old);
}

bool Virtqueue::enable_kicks() {
  if (event_idx_) {
    store(available_event(), next_available_, __ATOMIC_SEQ_CST);
  } else {
    store(used_flags(), 0, __ATOMIC_SEQ_CST);
  }
  // The mirror image of publish(): our wish first, then the look at the driver's index.
  return load(available_index(), __ATOMIC_SEQ_CST) != next_available_;
}

void Virtqueue::disable_kicks() {
  // With event indexes a kick comes only when the index passes available_event: leaving it behind
  // is enough.
  if (!event_idx_) store(used_flags(), kUsedNoNotify, __ATOMIC_RELAXED);
}

}  // namespace kata::vsock
