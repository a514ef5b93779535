#include "shim/io/transfer.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace kata::io {
namespace {

constexpr size_t kSpareBuffersMax = 2;

bool would_block(int error_number) { return error_number == EAGAIN || error_number == EINTR; }

bool has_input(int fd) {
  pollfd state{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&state, 1, 0) > 0;
}

}  // namespace

std::unique_ptr<BufferPool::Buffer> BufferPool::take() {
  if (spare_.empty()) return std::make_unique_for_overwrite<Buffer>();
  auto buffer = std::move(spare_.back());
  spare_.pop_back();
  return buffer;
}

void BufferPool::give_back(std::unique_ptr<Buffer> buffer) {
  if (buffer && spare_.size() < kSpareBuffersMax) spare_.push_back(std::move(buffer));
}

Transfer::Transfer(int source, int sink, BufferPool& buffers)
    : source_(source), sink_(sink), buffers_(buffers) {}

Transfer::~Transfer() { buffers_.give_back(std::move(buffer_)); }

Transfer::Step Transfer::step() { return can_splice_ ? splice_step() : copy_step(); }

Transfer::Step Transfer::splice_step() {
  ssize_t moved =
      ::splice(source_, nullptr, sink_, nullptr, kBurstBytes, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (moved > 0) return Step::kMoved;
  if (moved == 0) return Step::kEnd;
  if (errno == EINVAL) {
    // This pair of file types cannot be spliced here (a regular file opened with O_APPEND, a socket
    // family without splice support). Nothing has been taken from the source.
    can_splice_ = false;
    return copy_step();
  }
  if (!would_block(errno)) return failed(errno);
  // EAGAIN does not say which end it means.
  return has_input(source_) ? Step::kSinkFull : Step::kSourceEmpty;
}

Transfer::Step Transfer::copy_step() { return begin_ < end_ ? flush() : fill(); }

Transfer::Step Transfer::fill() {
  if (!buffer_) buffer_ = buffers_.take();
  ssize_t count = ::read(source_, buffer_->data(), buffer_->size());
  if (count > 0) {
    begin_ = 0;
    end_ = static_cast<size_t>(count);
    return flush();
  }
  int error_number = errno;
  buffers_.give_back(std::move(buffer_));
  if (count == 0) return Step::kEnd;
  if (would_block(error_number)) return Step::kSourceEmpty;
  return failed(error_number);
}

Transfer::Step Transfer::flush() {
  ssize_t count = ::write(sink_, buffer_->data() + begin_, end_ - begin_);
  if (count >= 0) {
    begin_ += static_cast<size_t>(count);
    return Step::kMoved;
  }
  if (would_block(errno)) return Step::kSinkFull;
  return failed(errno);
}

Transfer::Step Transfer::failed(int error_number) {
  if (error_number == EPIPE) return Step::kSinkGone;
  error_number_ = error_number;
  return Step::kFailed;
}

}  // namespace kata::io
