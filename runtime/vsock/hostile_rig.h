// For tests: attacks on a device, and what must be left of it afterwards.
#pragma once

#include <functional>

#include <catch2/catch.hpp>

#include "runtime/vsock/test_guest.h"

namespace kata::vsock::testing {

/// A whole connection works on a fresh session of this device.
inline void check_alive(const DeviceRig& rig) {
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  const UniqueFd host = connect_host(rig.sockets().host);
  write_all(host.get(), "CONNECT 1\n");
  const Packet request = guest.expect(VsockOp::kRequest);
  guest.send(VsockOp::kResponse, 1, request.header.src_port);
  guest.send(VsockOp::kRw, 1, request.header.src_port, "alive");
  read_line(host.get());
  CHECK(read_exactly(host.get(), 5) == "alive");
}

/// Runs `attack` against a started session, which must then be dropped.
inline void check_dropped(const std::function<void(TestGuest&)>& attack, bool start = true) {
  const size_t before = count_open_fds();
  {
    DeviceRig rig;
    {
      TestGuest guest(rig.sockets().front_end);
      if (start) guest.start();
      attack(guest);
      CHECK(guest.dropped());
    }
    check_alive(rig);
  }
  CHECK(count_open_fds() == before);
}

/// Runs `attack`, which must leave the session in service.
inline void check_survived(const std::function<void(TestGuest&)>& attack, bool start = true) {
  const size_t before = count_open_fds();
  {
    DeviceRig rig;
    {
      TestGuest guest(rig.sockets().front_end);
      if (start) guest.start();
      attack(guest);
      guest.sync();
    }
    check_alive(rig);
  }
  CHECK(count_open_fds() == before);
}

}  // namespace kata::vsock::testing
