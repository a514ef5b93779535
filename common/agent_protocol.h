// Constants of the host <-> guest transport that agent.proto describes but cannot hold.
#pragma once

#include <cstdint>
#include <string_view>

namespace kata {

/// Port of the agent's gRPC server in the guest.
inline constexpr uint32_t kAgentPort = 1024;
/// Port in the guest for connections to its loopback: the host sends the TCP port, two bytes in
/// network byte order; the agent answers one byte when it is connected, and copies from then on; it
/// closes where nobody listens.
inline constexpr uint32_t kLoopbackPort = 1025;
inline constexpr char kLoopbackConnected = '+';
/// Port on the host (CID 2) to which the agent connects once when it is ready.
inline constexpr uint32_t kReadyPort = 1024;
/// The line that the agent writes to that connection.
inline constexpr std::string_view kReadyLine = "READY 1\n";
/// Tag of the pod's virtiofs share and where the agent mounts it.
inline constexpr std::string_view kShareTag = "kataShared";
inline constexpr std::string_view kShareMountPoint = "/run/kata/share";
/// Directory of the share with what of the host the pod's containers have, each in a place of its
/// own however many containers there are. No container's id begins so.
inline constexpr std::string_view kShareBinds = ".binds";
/// Directory of the guest with the mounts that stand for the host's file systems of huge pages.
inline constexpr std::string_view kHugepageVolumes = "/run/kata/hugepages";

}  // namespace kata
