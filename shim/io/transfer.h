// Moving bytes from one descriptor to another without waiting.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

namespace kata::io {

inline constexpr size_t kBufferBytes = 64 * 1024;

/// Spare buffers of streams that splice(2) cannot serve. Used on one thread, and outlives its
/// users.
class BufferPool {
 public:
  using Buffer = std::array<std::byte, kBufferBytes>;

  std::unique_ptr<Buffer> take();
  void give_back(std::unique_ptr<Buffer> buffer);

 private:
  std::vector<std::unique_ptr<Buffer>> spare_;
};

/// One direction between two non-blocking descriptors, borrowed: the caller keeps them open.
/// Splices while the kernel can; otherwise copies through a pooled buffer, which is held only while
/// it has bytes in it.
class Transfer {
 public:
  enum class Step {
    kMoved,        // go on
    kSourceEmpty,  // wait until the source is readable
    kSinkFull,     // wait until the sink is writable
    kEnd,          // the source has ended and every byte is in the sink
    kSinkGone,     // nobody will read the sink any more
    kFailed,       // error_number() says why
  };

  Transfer(int source, int sink, BufferPool& buffers);
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer();

  /// Moves at most kBurstBytes.
  Step step();

  /// The errno of the source or the sink after kFailed.
  int error_number() const { return error_number_; }

  static constexpr size_t kBurstBytes = 256 * 1024;

 private:
  Step splice_step();
  Step copy_step();
  Step fill();
  Step flush();
  Step failed(int error_number);

  int source_;
  int sink_;
  BufferPool& buffers_;
  bool can_splice_ = true;
  int error_number_ = 0;
  std::unique_ptr<BufferPool::Buffer> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace kata::io
