#include "common/sys/output_tail.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <unistd.h>

namespace kata::sys {

bool OutputTail::drain(int fd) {
  std::array<char, 4096> buffer;
  ssize_t size;
  while ((size = ::read(fd, buffer.data(), buffer.size())) > 0) {
    bytes_.append(buffer.data(), static_cast<size_t>(size));
    // Trimmed at twice the size, so that a chatty child does not cost a move per write.
    if (bytes_.size() > 2 * kept_bytes_) bytes_.erase(0, bytes_.size() - kept_bytes_);
  }
  return size < 0 && (errno == EAGAIN || errno == EINTR);
}

std::string OutputTail::text() const {
  std::string text = bytes_.substr(bytes_.size() - std::min(bytes_.size(), kept_bytes_));
  for (char& c : text)
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f) c = '?';
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace kata::sys
