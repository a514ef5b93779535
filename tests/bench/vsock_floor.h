// What both ends of the vsock floor know.
#pragma once

namespace kata::bench {

/// Of the host, to which the guest connects.
inline constexpr unsigned kFloorPort = 5000;

}  // namespace kata::bench
