// std::chrono to protobuf's Timestamp.
#pragma once

#include <chrono>

#include <google/protobuf/timestamp.pb.h>

namespace kata::events {

inline void set_timestamp(google::protobuf::Timestamp& out,
                          std::chrono::system_clock::time_point at) {
  constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
  // Not std::chrono::floor: it computes the difference to a second that may be before the first
  // one that nanoseconds can name. The guest says when a process has ended.
  const int64_t since_epoch_ns = std::chrono::nanoseconds(at.time_since_epoch()).count();
  int64_t seconds = since_epoch_ns / kNanosecondsPerSecond;
  int64_t nanos = since_epoch_ns % kNanosecondsPerSecond;
  if (nanos < 0) {
    --seconds;
    nanos += kNanosecondsPerSecond;
  }
  out.set_seconds(seconds);
  out.set_nanos(static_cast<int32_t>(nanos));
}

}  // namespace kata::events
