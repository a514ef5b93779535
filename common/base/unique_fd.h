// Ownership of a file descriptor. A raw int stands only at the system call itself.
#pragma once

#include <utility>

#include <unistd.h>

namespace kata {

/// Owns one descriptor and closes it once. Movable, not copyable; not thread-safe.
class [[nodiscard]] UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

  /// Gives the descriptor up: the caller closes it.
  int release() { return std::exchange(fd_, -1); }

  void reset(int fd = -1) {
    // close(2) frees the number even when it fails, so there is nothing to retry.
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace kata
