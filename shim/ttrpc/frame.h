// Frames of the ttrpc protocol (github.com/containerd/ttrpc, PROTOCOL.md, "Message Frame").
//
// A frame is a 10-byte header (data length and stream id, 32 bits big-endian each, then type and
// flags of one byte each) and up to 4 MiB of data. The first byte of a valid frame is therefore
// always zero, which is how a peer that does not speak ttrpc is told apart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/error/error.h"

namespace kata::ttrpc {

inline constexpr size_t kFrameHeaderBytes = 10;
inline constexpr size_t kMaxMessageBytes = 4 * 1024 * 1024;
/// From here on the first byte is not zero: no ttrpc peer ever sends such a length.
inline constexpr size_t kGarbageLengthBytes = 16 * 1024 * 1024;

inline constexpr uint8_t kTypeRequest = 1;
inline constexpr uint8_t kTypeResponse = 2;
inline constexpr uint8_t kTypeData = 3;

inline constexpr uint8_t kFlagRemoteOpen = 2;

struct FrameHeader {
  uint32_t length = 0;
  uint32_t stream_id = 0;
  uint8_t type = 0;
  uint8_t flags = 0;
};

std::array<char, kFrameHeaderBytes> encode_header(const FrameHeader& header);

struct Frame {
  FrameHeader header;
  /// Empty when the frame was longer than kMaxMessageBytes: its data was skipped.
  std::string payload;

  bool oversized() const { return header.length > kMaxMessageBytes; }
};

/// Takes a byte stream apart, however it is split. Holds at most one frame and what was appended
/// after it. Used by one thread.
class FrameDecoder {
 public:
  void append(std::string_view bytes);

  /// The next complete frame, or nothing until more bytes are appended. An oversized frame comes
  /// without its payload when all of it has passed. InvalidArgument: this is no ttrpc; the stream
  /// cannot be read any further.
  Result<std::optional<Frame>> next();

 private:
  std::string buffer_;
  size_t consumed_ = 0;  // bytes at the front of buffer_ that were handed out
  std::optional<FrameHeader> skipping_;
  size_t skip_left_ = 0;
};

}  // namespace kata::ttrpc
