#include "shim/command/input.h"

#include <array>
#include <cerrno>

#include <unistd.h>

namespace kata::command {
namespace {

// Of all that containerd writes nothing comes near it.
constexpr size_t kMaxInputBytes = 4 * 1024 * 1024;

}  // namespace

Result<std::string> read_input(int fd) {
  std::string input;
  if (isatty(fd)) return input;
  std::array<char, 4096> chunk{};
  for (;;) {
    ssize_t count = read(fd, chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return input;  // a closed stdin is an empty one
    input.append(chunk.data(), static_cast<size_t>(count));
    if (input.size() > kMaxInputBytes)
      return fail(Code::kResourceExhausted, "what is on stdin is longer than {} bytes",
                  kMaxInputBytes);
  }
}

}  // namespace kata::command
