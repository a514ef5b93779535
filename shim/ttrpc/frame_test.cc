#include "shim/ttrpc/frame.h"

#include <vector>

#include <catch2/catch.hpp>

namespace kata::ttrpc {
namespace {

std::string encode(uint32_t stream_id, const std::string& payload) {
  auto header = encode_header({.length = static_cast<uint32_t>(payload.size()),
                               .stream_id = stream_id,
                               .type = kTypeRequest,
                               .flags = 0});
  return std::string(header.data(), header.size()) + payload;
}

std::vector<Frame> drain(FrameDecoder& decoder) {
  std::vector<Frame> frames;
  for (;;) {
    auto frame = decoder.next();
    REQUIRE(frame);
    if (!*frame) return frames;
    frames.push_back(**std::move(frame));
  }
}

TEST_CASE("a header is big-endian length and stream id, then type and flags") {
  auto bytes =
      encode_header({.length = 0x00010203, .stream_id = 0x04050607, .type = 2, .flags = 1});
  CHECK(std::string(bytes.data(), bytes.size()) ==
        std::string("\x00\x01\x02\x03\x04\x05\x06\x07\x02\x01", 10));
}

TEST_CASE("frames split at every byte are put together again") {
  std::string stream = encode(1, "first") + encode(3, "") + encode(5, "third");
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    FrameDecoder decoder;
    decoder.append(std::string_view(stream).substr(0, cut));
    auto frames = drain(decoder);
    decoder.append(std::string_view(stream).substr(cut));
    for (auto& frame : drain(decoder)) frames.push_back(std::move(frame));
    REQUIRE(frames.size() == 3);
    CHECK(frames[0].payload == "first");
    CHECK(frames[1].header.stream_id == 3);
    CHECK(frames[1].payload.empty());
    CHECK(frames[2].payload == "third");
  }
}

TEST_CASE("frames arrive byte by byte") {
  std::string stream = encode(1, "first") + encode(3, "second");
  FrameDecoder decoder;
  std::vector<Frame> frames;
  for (char byte : stream) {
    decoder.append({&byte, 1});
    for (auto& frame : drain(decoder)) frames.push_back(std::move(frame));
  }
  REQUIRE(frames.size() == 2);
  CHECK(frames[1].payload == "second");
}

TEST_CASE("the largest message passes, a larger one is skipped and what follows is read") {
  std::string largest(kMaxMessageBytes, 'x');
  std::string oversized(kMaxMessageBytes + 1, 'y');
  std::string stream = encode(1, largest) + encode(3, oversized) + encode(5, "after");
  size_t chunk = GENERATE(size_t{1000}, size_t{4096}, size_t{20'000'000});
  FrameDecoder decoder;
  std::vector<Frame> frames;
  for (size_t at = 0; at < stream.size(); at += chunk) {
    decoder.append(std::string_view(stream).substr(at, chunk));
    for (auto& frame : drain(decoder)) frames.push_back(std::move(frame));
  }
  REQUIRE(frames.size() == 3);
  CHECK(frames[0].payload == largest);
  CHECK_FALSE(frames[0].oversized());
  CHECK(frames[1].oversized());
  CHECK(frames[1].header.stream_id == 3);
  CHECK(frames[1].payload.empty());
  CHECK(frames[2].payload == "after");
}

TEST_CASE("garbage is recognised by its first byte") {
  FrameDecoder decoder;
  decoder.append("G");
  auto frame = decoder.next();
  REQUIRE_FALSE(frame);
  CHECK(frame.error().code() == Code::kInvalidArgument);
}

TEST_CASE("garbage behind a good frame does not take the frame away") {
  FrameDecoder decoder;
  decoder.append(encode(1, "good") + "\x01garbage");
  auto frame = decoder.next();
  REQUIRE(frame);
  CHECK((*frame)->payload == "good");
  CHECK_FALSE(decoder.next());
}

}  // namespace
}  // namespace kata::ttrpc
