#include "runtime/vsock/vsock_packet.h"

#include <algorithm>
#include <cstring>

namespace kata::vsock {

bool read_header(std::span<const iovec> ranges, VsockHeader& header) {
  auto* target = reinterpret_cast<uint8_t*>(&header);
  size_t missing = sizeof(header);
  for (const iovec& range : ranges) {
    const size_t part = std::min(missing, range.iov_len);
    std::memcpy(target, range.iov_base, part);
    target += part;
    missing -= part;
    if (missing == 0) break;
  }
  // The ranges are guest memory: nothing may be read from them a second time.
  asm volatile("" ::: "memory");
  return missing == 0;
}

void write_header(std::span<const iovec> ranges, const VsockHeader& header) {
  const auto* source = reinterpret_cast<const uint8_t*>(&header);
  size_t missing = sizeof(header);
  for (const iovec& range : ranges) {
    const size_t part = std::min(missing, range.iov_len);
    std::memcpy(range.iov_base, source, part);
    source += part;
    missing -= part;
    if (missing == 0) break;
  }
}

void slice(std::span<const iovec> ranges, uint64_t skip, uint64_t limit, std::vector<iovec>& out) {
  for (const iovec& range : ranges) {
    if (limit == 0) break;
    if (skip >= range.iov_len) {
      skip -= range.iov_len;
      continue;
    }
    const uint64_t part = std::min<uint64_t>(limit, range.iov_len - skip);
    out.push_back({static_cast<uint8_t*>(range.iov_base) + skip, part});
    skip = 0;
    limit -= part;
  }
}

VsockHeader reset_for(const VsockHeader& packet) {
  VsockHeader reset;
  reset.src_cid = packet.dst_cid;
  reset.dst_cid = packet.src_cid;
  reset.src_port = packet.dst_port;
  reset.dst_port = packet.src_port;
  reset.type = packet.type;
  reset.op = static_cast<uint16_t>(VsockOp::kRst);
  return reset;
}

}  // namespace kata::vsock
