#include "runtime/vsock/byte_queue.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace kata::vsock {

void ByteQueue::append(std::span<const iovec> ranges, size_t skip) {
  for (const iovec& range : ranges) {
    if (skip >= range.iov_len) {
      skip -= range.iov_len;
      continue;
    }
    put(static_cast<const uint8_t*>(range.iov_base) + skip, range.iov_len - skip);
    skip = 0;
  }
}

void ByteQueue::put(const uint8_t* source, size_t bytes) {
  assert(bytes <= capacity_ - size_);
  if (!memory_) memory_ = std::make_unique_for_overwrite<uint8_t[]>(capacity_);
  while (bytes > 0) {
    const size_t end = (start_ + size_) % capacity_;
    const size_t part = std::min(bytes, capacity_ - end);
    std::memcpy(memory_.get() + end, source, part);
    source += part;
    size_ += part;
    bytes -= part;
  }
}

size_t ByteQueue::content(iovec (&ranges)[2]) const {
  if (size_ == 0) return 0;
  const size_t first = std::min(size_, capacity_ - start_);
  ranges[0] = {memory_.get() + start_, first};
  if (first == size_) return 1;
  ranges[1] = {memory_.get(), size_ - first};
  return 2;
}

void ByteQueue::consume(size_t bytes) {
  assert(bytes <= size_);
  size_ -= bytes;
  start_ = (start_ + bytes) % capacity_;
  if (size_ == 0) {
    start_ = 0;
    memory_.reset();
  }
}

}  // namespace kata::vsock
