// What a hostile guest may try. The device must end the session (or reset the stream), keep the
// process alive, leak nothing, and serve the next front end.
#include <cstring>

#include <catch2/catch.hpp>
#include <sys/socket.h>

#include "runtime/vsock/hostile_rig.h"
#include "runtime/vsock/unix_socket.h"

namespace kata::vsock::testing {
namespace {

constexpr uint32_t kPort = 700;
constexpr uint32_t kGuestPort = 5000;

void offer_one(TestGuest& guest, uint32_t ring, RawDescriptor descriptor) {
  guest.set_descriptor(ring, 100, descriptor);
  guest.offer(ring, 100);
}

/// A packet of the guest in one descriptor.
void offer_packet(TestGuest& guest, const VsockHeader& header, uint32_t length) {
  std::memcpy(guest.memory(0x900000), &header, sizeof(header));
  offer_one(guest, kTransmitQueue, {0x900000, length, 0, 0});
}

}  // namespace

TEST_CASE("vsock hostile: descriptors") {
  constexpr uint64_t kEnd = TestGuest::kMemoryBytes;
  const auto bad = GENERATE(values<std::pair<const char*, RawDescriptor>>({
      {"address outside memory", {kEnd, 44, 0, 0}},
      {"end outside memory", {kEnd - 43, 44, 0, 0}},
      {"far away", {1ULL << 40, 44, 0, 0}},
      {"address wraps around", {UINT64_MAX - 10, 44, 0, 0}},
      {"huge length", {0x900000, UINT32_MAX, 0, 0}},
      {"zero length", {0x900000, 0, 0, 0}},
      {"shorter than a header", {0x900000, 43, 0, 0}},
      {"next outside the table", {0x900000, 44, kNext, TestGuest::kQueueSize}},
      {"next far outside the table", {0x900000, 44, kNext, 65535}},
      {"chain to itself", {0x900000, 44, kNext, 100}},
      {"chain of nothing to itself", {0x900000, 0, kNext, 100}},
      {"device-writable to be read", {0x900000, 44, kWrite, 0}},
      {"indirect table outside memory", {kEnd, 64, kIndirect, 0}},
      {"indirect table wraps around", {UINT64_MAX - 15, 64, kIndirect, 0}},
      {"indirect table across regions", {TestGuest::kRegionBoundary - 32, 64, kIndirect, 0}},
      {"indirect table of no entry", {0x900000, 0, kIndirect, 0}},
      {"indirect table of half an entry", {0x900000, 24, kIndirect, 0}},
      {"huge indirect table", {0x900000, 16 * 2048, kIndirect, 0}},
      {"huge length of an indirect table", {0x900000, UINT32_MAX - 15, kIndirect, 0}},
      {"indirect and next", {0x900000, 16, kIndirect | kNext, 0}},
  }));
  INFO(bad.first);
  check_dropped([&](TestGuest& guest) { offer_one(guest, kTransmitQueue, bad.second); });
}

TEST_CASE("vsock hostile: receive buffers") {
  const auto bad = GENERATE(values<std::pair<const char*, RawDescriptor>>({
      {"no room for a header", {0x900000, 43, kWrite, 0}},
      {"no room for data", {0x900000, 44, kWrite, 0}},
      {"not writable", {0x900000, 4096, 0, 0}},
      {"outside memory", {TestGuest::kMemoryBytes - 100, 4096, kWrite, 0}},
      {"loop", {0x900000, 4096, kWrite | kNext, 100}},
  }));
  INFO(bad.first);
  const auto second = GENERATE(false, true);
  check_dropped(
      [&](TestGuest& guest) {
        guest.start(TestGuest::kAllFeatures, false);
        if (second) {
          // The bad one is met behind a good one.
          guest.set_descriptor(kReceiveQueue, 0, {0xa00000, 4096, kWrite, 0});
          guest.offer(kReceiveQueue, 0);
        }
        offer_one(guest, kReceiveQueue, bad.second);
        guest.send(VsockOp::kRequest, kGuestPort, kPort);
        guest.send(VsockOp::kRequest, kGuestPort, kPort);
      },
      false);
}

TEST_CASE("vsock hostile: indirect tables") {
  const auto bad = GENERATE(values<std::pair<const char*, RawDescriptor>>({
      {"indirect in indirect", {0x900000, 16, kIndirect, 0}},
      {"loop", {0x900100, 44, kNext, 0}},
      {"next outside the table", {0x900100, 44, kNext, 1}},
      {"buffer outside memory", {1ULL << 60, 44, 0, 0}},
      {"writable", {0x900100, 44, kWrite, 0}},
  }));
  INFO(bad.first);
  check_dropped([&](TestGuest& guest) {
    guest.put_descriptor(0x900000, 0, bad.second);
    offer_one(guest, kTransmitQueue, {0x900000, 16, kIndirect, 0});
  });
}

TEST_CASE("vsock hostile: indirect descriptors that were not negotiated") {
  check_dropped(
      [](TestGuest& guest) {
        guest.start(kFeatureVersion1 | kFeatureProtocolFeatures);
        guest.put_descriptor(0x900000, 0, {0x900100, 44, 0, 0});
        offer_one(guest, kTransmitQueue, {0x900000, 16, kIndirect, 0});
      },
      false);
}

TEST_CASE("vsock hostile: chains that never end") {
  check_dropped([](TestGuest& guest) {
    for (uint16_t i = 0; i < TestGuest::kQueueSize; ++i) {
      guest.set_descriptor(
          kTransmitQueue, i,
          {0x900000, 1, kNext, static_cast<uint16_t>((i + 1) % TestGuest::kQueueSize)});
    }
    guest.offer(kTransmitQueue, 0);
  });
}

TEST_CASE("vsock hostile: available ring") {
  check_dropped([](TestGuest& guest) {
    guest.set_available_index(kTransmitQueue, TestGuest::kQueueSize + 1);
    guest.kick(kTransmitQueue);
  });
  check_dropped([](TestGuest& guest) {
    guest.set_available_index(kTransmitQueue, 40000);
    guest.kick(kTransmitQueue);
  });
  check_dropped([](TestGuest& guest) { guest.offer(kTransmitQueue, TestGuest::kQueueSize); });
  check_dropped([](TestGuest& guest) { guest.offer(kTransmitQueue, 65535); });
}

TEST_CASE("vsock hostile: packet lengths") {
  const uint32_t claimed = GENERATE(as<uint32_t>{}, 1, 100, 1U << 31, UINT32_MAX - 43, UINT32_MAX);
  check_dropped([&](TestGuest& guest) {
    offer_packet(guest, guest.make_header(VsockOp::kRw, kGuestPort, kPort, claimed), 44);
  });
}

TEST_CASE("vsock hostile: packets of no connection are reset") {
  check_survived([](TestGuest& guest) {
    for (VsockOp op : {VsockOp::kResponse, VsockOp::kShutdown, VsockOp::kRw, VsockOp::kCreditUpdate,
                       VsockOp::kCreditRequest, VsockOp{0}, VsockOp{8}, VsockOp{65535}}) {
      guest.send(op, kGuestPort, kPort, "data");
      const Packet reset = guest.expect(VsockOp::kRst);
      CHECK(reset.header.src_port == kPort);
      CHECK(reset.header.dst_port == kGuestPort);
    }
    // A reset is never answered: that could go on for ever.
    guest.send(VsockOp::kRst, kGuestPort, kPort);
    guest.send(VsockOp::kRst, kGuestPort, kPort);
    guest.sync();
    CHECK_FALSE(guest.receive(std::chrono::milliseconds(1)));
  });
}

TEST_CASE("vsock hostile: foreign CIDs and types are reset") {
  check_survived([](TestGuest& guest) {
    for (uint64_t cid : {0ULL, 1ULL, 2ULL, 4ULL, 1ULL << 32 | 3, ~0ULL}) {
      VsockHeader header = guest.make_header(VsockOp::kRequest, kGuestPort, kPort);
      header.src_cid = cid;
      guest.send_packet(header, {});
      const Packet reset = guest.expect(VsockOp::kRst);
      const uint64_t answered = reset.header.dst_cid;
      CHECK(answered == cid);
    }
    for (uint64_t cid : {0ULL, 1ULL, 3ULL, 4ULL, 1ULL << 32 | 2, ~0ULL}) {
      VsockHeader header = guest.make_header(VsockOp::kRequest, kGuestPort, kPort);
      header.dst_cid = cid;
      guest.send_packet(header, {});
      guest.expect(VsockOp::kRst);
    }
    for (uint16_t type : {0, 2, 3, 65535}) {
      VsockHeader header = guest.make_header(VsockOp::kRequest, kGuestPort, kPort);
      header.type = type;
      guest.send_packet(header, {});
      guest.expect(VsockOp::kRst);
    }
  });
}

TEST_CASE("vsock hostile: violations within a stream reset that stream only") {
  const size_t before = count_open_fds();
  {
    DeviceRig rig;
    TestGuest guest(rig.sockets().front_end);
    guest.start();
    auto listener = listen_unix(rig.dir() / "vsock.sock_700");
    REQUIRE(listener);
    const auto connect = [&](uint32_t guest_port) {
      guest.send(VsockOp::kRequest, guest_port, kPort);
      REQUIRE(wait_readable(listener->get()));
      UniqueFd host(::accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));
      guest.expect(VsockOp::kResponse);
      return host;
    };
    const UniqueFd good = connect(1);
    const UniqueFd bad = connect(2);

    SECTION("a second request") { guest.send(VsockOp::kRequest, 2, kPort); }
    SECTION("a response to nothing") { guest.send(VsockOp::kResponse, 2, kPort); }
    SECTION("an unknown operation") { guest.send(VsockOp{9}, 2, kPort); }
    SECTION("more than our buffer at once") {
      // Larger than any credit.
      std::vector<RawDescriptor> parts;
      const VsockHeader header = guest.make_header(VsockOp::kRw, 2, kPort, 1100000);
      std::memcpy(guest.memory(0x900000), &header, sizeof(header));
      guest.put_descriptor(0xa00000, 0, {0x900000, 44, kNext, 1});
      guest.put_descriptor(0xa00000, 1, {0xb00000, 1100000, 0, 0});
      offer_one(guest, kTransmitQueue, {0xa00000, 32, kIndirect, 0});
    }
    SECTION("more than our buffer by and by") {
      const std::string data(60000, 'x');
      // Nobody reads `bad`; its socket takes some, the device 1 MiB.
      std::optional<Packet> packet;
      do {
        guest.send(VsockOp::kRw, 2, kPort, data);
        guest.sync();
        while ((packet = guest.receive(std::chrono::milliseconds(0))) &&
               packet->op() != VsockOp::kRst) {
        }
      } while (!packet);
      CHECK(packet->header.dst_port == 2);
      guest.send(VsockOp::kRw, 2, kPort, "after");
    }
    SECTION("data after shutdown") {
      guest.send(VsockOp::kShutdown, 2, kPort, {}, kShutdownSend);
      guest.send(VsockOp::kRw, 2, kPort, "too late");
    }
    SECTION("a forged forward count") {
      guest.forwarded = 1;
      guest.send(VsockOp::kCreditUpdate, 2, kPort);
      guest.forwarded = 0;
    }
    SECTION("a forward count half the number space ahead") {
      guest.forwarded = 0x7fffffff;
      guest.send(VsockOp::kCreditUpdate, 2, kPort);
      guest.forwarded = 0;
    }

    CHECK(guest.expect(VsockOp::kRst).header.dst_port == 2);
    guest.send(VsockOp::kRw, 1, kPort, "good");
    CHECK(read_exactly(good.get(), 4) == "good");
  }
  CHECK(count_open_fds() == before);
}

TEST_CASE("vsock hostile: a guest that takes no answers is not answered for ever") {
  check_survived(
      [](TestGuest& guest) {
        guest.start(TestGuest::kAllFeatures, false);
        // No receive buffers: the device stops taking packets before its queue of resets grows
        // without bound, and goes on when there are buffers.
        for (int i = 0; i < 300; ++i) guest.send(VsockOp::kRw, kGuestPort, kPort);
        guest.post_receive_buffers();
        for (int i = 0; i < 1000; ++i) {
          guest.send(VsockOp::kRw, kGuestPort, kPort);
          guest.expect(VsockOp::kRst);
        }
      },
      false);
}

TEST_CASE("vsock hostile: more connections than there may be") {
  const size_t before = count_open_fds();
  {
    DeviceRig rig;
    {
      const auto listener = listen_unix(rig.dir() / "vsock.sock_700");
      REQUIRE(listener);
      TestGuest guest(rig.sockets().front_end);
      guest.start();
      size_t accepted = 0;
      constexpr uint32_t kAttempts = kMaxConnections + 200;
      for (uint32_t port = 0; port < kAttempts; ++port) {
        guest.send(VsockOp::kRequest, port, kPort);
        if (guest.expect_any().op() == VsockOp::kResponse) ++accepted;
      }
      CHECK(accepted > 64);
      CHECK(accepted <= kMaxConnections);
    }
    check_alive(rig);
  }
  CHECK(count_open_fds() == before);
}

}  // namespace kata::vsock::testing
