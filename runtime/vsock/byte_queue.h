// A bounded first-in first-out of bytes that holds no memory while it is empty.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <sys/uio.h>

namespace kata::vsock {

/// Used on one thread.
class ByteQueue {
 public:
  explicit ByteQueue(size_t capacity) : capacity_(capacity) {}

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

  /// Copies what `ranges` hold after their first `skip` bytes. The caller has checked the room.
  void append(std::span<const iovec> ranges, size_t skip);
  /// The content as one or two ranges, in order; the number of ranges.
  size_t content(iovec (&ranges)[2]) const;
  /// Drops bytes from the front.
  void consume(size_t bytes);
  void clear() { consume(size_); }

 private:
  void put(const uint8_t* source, size_t bytes);

  size_t capacity_;
  size_t start_ = 0;
  size_t size_ = 0;
  std::unique_ptr<uint8_t[]> memory_;
};

}  // namespace kata::vsock
