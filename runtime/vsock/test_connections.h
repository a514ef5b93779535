// Connections between a test's guest and its host, for the tests of the device.
#pragma once

#include <filesystem>
#include <string>

#include <catch2/catch.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/vsock/test_guest.h"
#include "runtime/vsock/unix_socket.h"

namespace kata::vsock::testing {

inline constexpr uint32_t kPort = 700;        // on the side that is connected to
inline constexpr uint32_t kGuestPort = 5000;  // of connections that the guest makes

inline std::string pattern(size_t bytes, unsigned seed = 1) {
  std::string text(bytes, '\0');
  for (char& byte : text) byte = static_cast<char>((seed = seed * 1103515245 + 12345) >> 16);
  return text;
}

inline std::filesystem::path listener_path(const DeviceRig& rig, uint32_t port) {
  return rig.dir() / ("vsock.sock_" + std::to_string(port));
}

inline UniqueFd accept_host(const UniqueFd& listener) {
  REQUIRE(wait_readable(listener.get()));
  return UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
}

/// A connection that the guest has made, with its host end.
inline UniqueFd connect_from_guest(const DeviceRig& rig, TestGuest& guest, uint32_t guest_port,
                                   uint32_t port = kPort) {
  auto listener = listen_unix(listener_path(rig, port));
  REQUIRE(listener);
  guest.send(VsockOp::kRequest, guest_port, port);
  UniqueFd host = accept_host(*listener);
  const Packet response = guest.expect(VsockOp::kResponse);
  CHECK(response.header.dst_port == guest_port);
  CHECK(response.header.src_port == port);
  ::unlink(listener_path(rig, port).c_str());
  return host;
}

}  // namespace kata::vsock::testing
