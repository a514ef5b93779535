// The end of what a child process writes, for error messages.
#pragma once

#include <cstddef>
#include <string>

namespace kata::sys {

/// Bounded, however much is written.
class OutputTail {
 public:
  explicit OutputTail(size_t kept_bytes) : kept_bytes_(kept_bytes) {}

  /// Reads what there is at a descriptor that does not block; false at its end.
  bool drain(int fd);

  /// Control characters replaced, without trailing blanks.
  std::string text() const;

 private:
  size_t kept_bytes_;
  std::string bytes_;  // up to twice as many
};

}  // namespace kata::sys
