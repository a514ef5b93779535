// std::chrono to protobuf's Timestamp.
#pragma once

#include <chrono>

#include <google/protobuf/timestamp.pb.h>

namespace kata::events {

inline void set_timestamp(google::protobuf::Timestamp& out,
                          std::chrono::system_clock::time_point at) {
  auto since_epoch = at.time_since_epoch();
  auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  out.set_seconds(seconds.count());
  out.set_nanos(static_cast<int32_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(since_epoch - seconds).count()));
}

}  // namespace kata::events
