// What makes a guest another one than its template, or than any other guest.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/error/error.h"

namespace kata::sandbox {

/// Adds `entropy` to the kernel's random number generator and makes it derive new keys from it at
/// once (random(4): RNDADDENTROPY, RNDRESEEDCRNG). Empty: nothing. InvalidArgument: too long.
Status mix_in_entropy(std::string_view entropy);

/// Empty: stays as it is.
Status set_hostname(const std::string& hostname);

/// The guest's clock starts from the emulated RTC, up to half a second wrong (Linux takes its whole
/// seconds for their middle), and a cloned VM's stands where its template stopped. `host_unix_ns`
/// is the host's some time ago, at most `max_age`: a clock that is behind it is set, one that is no
/// more than that ahead of it may be right.
Status set_clock(int64_t host_unix_ns, std::chrono::nanoseconds max_age);

}  // namespace kata::sandbox
