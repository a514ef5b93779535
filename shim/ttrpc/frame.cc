#include "shim/ttrpc/frame.h"

#include <algorithm>

namespace kata::ttrpc {
namespace {

// A connection that once carried a large message must not keep its buffer for ever.
constexpr size_t kKeptBufferBytes = 64 * 1024;

uint32_t big_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (unsigned char byte : bytes.substr(0, 4)) value = value << 8 | byte;
  return value;
}

FrameHeader decode_header(std::string_view bytes) {
  return {.length = big_endian(bytes),
          .stream_id = big_endian(bytes.substr(4)),
          .type = static_cast<uint8_t>(bytes[8]),
          .flags = static_cast<uint8_t>(bytes[9])};
}

}  // namespace

std::array<char, kFrameHeaderBytes> encode_header(const FrameHeader& header) {
  std::array<char, kFrameHeaderBytes> bytes{};
  for (int i = 0; i < 4; ++i) {
    bytes[i] = static_cast<char>(header.length >> (24 - 8 * i));
    bytes[4 + i] = static_cast<char>(header.stream_id >> (24 - 8 * i));
  }
  bytes[8] = static_cast<char>(header.type);
  bytes[9] = static_cast<char>(header.flags);
  return bytes;
}

void FrameDecoder::append(std::string_view bytes) {
  size_t skipped = std::min(skip_left_, bytes.size());
  skip_left_ -= skipped;
  bytes.remove_prefix(skipped);

  buffer_.erase(0, consumed_);
  consumed_ = 0;
  if (buffer_.empty() && buffer_.capacity() > kKeptBufferBytes) buffer_.shrink_to_fit();
  buffer_.append(bytes);
}

Result<std::optional<Frame>> FrameDecoder::next() {
  if (skipping_) {
    if (skip_left_ > 0) return std::nullopt;
    Frame frame{.header = *skipping_, .payload = {}};
    skipping_.reset();
    return frame;
  }
  std::string_view bytes = std::string_view(buffer_).substr(consumed_);
  if (!bytes.empty() && bytes[0] != 0)
    return fail(Code::kInvalidArgument, "the peer does not speak ttrpc (first byte 0x{:02x})",
                static_cast<unsigned char>(bytes[0]));
  if (bytes.size() < kFrameHeaderBytes) return std::nullopt;

  FrameHeader header = decode_header(bytes);
  bytes.remove_prefix(kFrameHeaderBytes);
  if (header.length > kMaxMessageBytes) {
    size_t here = std::min<size_t>(header.length, bytes.size());
    consumed_ += kFrameHeaderBytes + here;
    skip_left_ = header.length - here;
    skipping_ = header;
    return next();
  }
  if (bytes.size() < header.length) return std::nullopt;
  consumed_ += kFrameHeaderBytes + header.length;
  return Frame{.header = header, .payload = std::string(bytes.substr(0, header.length))};
}

}  // namespace kata::ttrpc
