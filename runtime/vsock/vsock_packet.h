// The header of every virtio-vsock packet (virtio 1.2 section 5.10.6), little-endian on the wire.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include <sys/uio.h>

namespace kata::vsock {

static_assert(std::endian::native == std::endian::little, "packets are copied as they are");

inline constexpr uint64_t kHostCid = 2;
inline constexpr uint16_t kTypeStream = 1;

enum class VsockOp : uint16_t {
  kRequest = 1,
  kResponse = 2,
  kRst = 3,
  kShutdown = 4,
  kRw = 5,
  kCreditUpdate = 6,
  kCreditRequest = 7,
};

/// Flags of kShutdown: what its sender will not do any more.
inline constexpr uint32_t kShutdownReceive = 1;
inline constexpr uint32_t kShutdownSend = 2;
inline constexpr uint32_t kShutdownBoth = kShutdownReceive | kShutdownSend;

struct [[gnu::packed]] VsockHeader {
  uint64_t src_cid = 0;
  uint64_t dst_cid = 0;
  uint32_t src_port = 0;
  uint32_t dst_port = 0;
  uint32_t len = 0;
  uint16_t type = kTypeStream;
  uint16_t op = 0;
  uint32_t flags = 0;
  uint32_t buf_alloc = 0;
  uint32_t fwd_cnt = 0;
};
static_assert(sizeof(VsockHeader) == 44);

/// Copies the header out of the front of `ranges`; false when they are shorter.
bool read_header(std::span<const iovec> ranges, VsockHeader& header);

/// Copies the header into the front of `ranges`, which hold at least its size.
void write_header(std::span<const iovec> ranges, const VsockHeader& header);

/// Appends to `out` the part of `ranges` that starts `skip` bytes in, `limit` bytes at most.
void slice(std::span<const iovec> ranges, uint64_t skip, uint64_t limit, std::vector<iovec>& out);

/// The answer to a packet that belongs to no connection.
VsockHeader reset_for(const VsockHeader& packet);

}  // namespace kata::vsock
