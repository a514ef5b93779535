// What a hostile guest or QEMU may try. The device must end the session (or reset the stream), keep
// the process alive, leak nothing, and serve the next front end.
#include <cstring>
#include <functional>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/vsock/test_guest.h"
#include "runtime/vsock/unix_socket.h"

namespace kata::vsock::testing {
namespace {

constexpr uint32_t kPort = 700;
constexpr uint32_t kGuestPort = 5000;

/// A whole connection works on a fresh session of this device.
void check_alive(const DeviceRig& rig) {
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
void check_dropped(const std::function<void(TestGuest&)>& attack, bool start = true) {
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
void check_survived(const std::function<void(TestGuest&)>& attack, bool start = true) {
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

void offer_one(TestGuest& guest, uint32_t ring, RawDescriptor descriptor) {
  guest.set_descriptor(ring, 100, descriptor);
  guest.offer(ring, 100);
}

/// A packet of the guest in one descriptor.
void offer_packet(TestGuest& guest, const VsockHeader& header, uint32_t length) {
  std::memcpy(guest.memory(0x900000), &header, sizeof(header));
  offer_one(guest, kTransmitQueue, {0x900000, length, 0, 0});
}

std::vector<uint8_t> memory_table(const std::vector<MemoryRegion>& regions) {
  const MemoryTableHeader header{static_cast<uint32_t>(regions.size()), 0};
  std::vector<uint8_t> payload(sizeof(header) + regions.size() * sizeof(MemoryRegion));
  std::memcpy(payload.data(), &header, sizeof(header));
  if (!regions.empty()) {
    std::memcpy(payload.data() + sizeof(header), regions.data(),
                regions.size() * sizeof(MemoryRegion));
  }
  return payload;
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
      // Larger than any credit: one buffer used many times over.
      std::vector<RawDescriptor> parts;
      const VsockHeader header = guest.make_header(VsockOp::kRw, 2, kPort, 300000);
      std::memcpy(guest.memory(0x900000), &header, sizeof(header));
      guest.put_descriptor(0xa00000, 0, {0x900000, 44, kNext, 1});
      guest.put_descriptor(0xa00000, 1, {0x900000, 300000, 0, 0});
      offer_one(guest, kTransmitQueue, {0xa00000, 32, kIndirect, 0});
    }
    SECTION("more than our buffer by and by") {
      const std::string data(60000, 'x');
      // Nobody reads `bad`; its socket takes some, the device 256 KiB.
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

TEST_CASE("vsock hostile: vhost-user framing") {
  const auto raw = [](TestGuest& guest, VhostUserHeader header, size_t extra = 0) {
    std::vector<uint8_t> bytes(sizeof(header) + extra);
    std::memcpy(bytes.data(), &header, sizeof(header));
    guest.send_raw(bytes);
  };
  check_dropped([&](TestGuest& guest) { raw(guest, {1, 0, 0}); }, false);
  check_dropped([&](TestGuest& guest) { raw(guest, {1, 2, 0}); }, false);
  check_dropped(
      [&](TestGuest& guest) {
        raw(guest, {1, kMessageVersion | kMessageReply, 0});
      },
      false);
  check_dropped([&](TestGuest& guest) { raw(guest, {1, kMessageVersion, UINT32_MAX}); }, false);
  check_dropped([&](TestGuest& guest) { raw(guest, {1, kMessageVersion, 513}); }, false);
  for (uint32_t request : {0U, 6U, 7U, 19U, 21U, 22U, 31U, 41U, 1000U, UINT32_MAX}) {
    check_dropped([&](TestGuest& guest) { raw(guest, {request, kMessageVersion, 0}); }, false);
  }
  // A message in single bytes is fine.
  check_survived(
      [](TestGuest& guest) {
        const VhostUserHeader header{3, kMessageVersion, 0};
        const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
        for (size_t i = 0; i < sizeof(header); ++i) guest.send_raw({bytes + i, 1});
      },
      false);
  // Half a message and silence, then the front end goes.
  const size_t before = count_open_fds();
  {
    DeviceRig rig;
    {
      TestGuest guest(rig.sockets().front_end);
      const uint8_t some[5] = {3, 0, 0, 0, 1};
      guest.send_raw(some);
    }
    check_alive(rig);
  }
  CHECK(count_open_fds() == before);
}

TEST_CASE("vsock hostile: payloads of the wrong size") {
  for (auto request :
       {VhostUserRequest::kSetFeatures, VhostUserRequest::kSetProtocolFeatures,
        VhostUserRequest::kSetMemTable, VhostUserRequest::kSetVringNum,
        VhostUserRequest::kSetVringAddr, VhostUserRequest::kSetVringBase,
        VhostUserRequest::kGetVringBase, VhostUserRequest::kSetVringKick,
        VhostUserRequest::kSetVringCall, VhostUserRequest::kSetVringErr,
        VhostUserRequest::kSetVringEnable, VhostUserRequest::kGetConfig,
        VhostUserRequest::kSetConfig, VhostUserRequest::kAddMemReg, VhostUserRequest::kRemMemReg}) {
    for (size_t size : {0, 1, 7, 9, 39, 41, 512}) {
      INFO("request " << static_cast<uint32_t>(request) << " of " << size);
      const std::vector<uint8_t> payload(size, 0xff);
      check_dropped([&](TestGuest& guest) { guest.send_message(request, payload); }, false);
    }
  }
}

TEST_CASE("vsock hostile: descriptors that nobody asked for") {
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const std::vector<int> one(1, event.get());
  const std::vector<int> nine(9, event.get());
  const std::vector<int> many(200, event.get());
  for (const auto& fds : {one, nine, many}) {
    check_dropped(
        [&](TestGuest& guest) { guest.send_message(VhostUserRequest::kSetOwner, {}, fds); }, false);
  }
  for (const auto& fds : {nine, many}) {
    check_dropped(
        [&](TestGuest& guest) {
          guest.send_value(VhostUserRequest::kSetVringCall, uint64_t{0}, fds);
        },
        false);
  }
  const std::vector<int> two(2, event.get());
  check_dropped(
      [&](TestGuest& guest) {
        guest.send_value(VhostUserRequest::kSetVringKick, uint64_t{0}, two);
      },
      false);
  check_dropped(
      [&](TestGuest& guest) { guest.send_value(VhostUserRequest::kSetVringKick, uint64_t{0}); },
      false);
  check_dropped(
      [&](TestGuest& guest) { guest.send_value(VhostUserRequest::kSetVringKick, kVringNoFd, one); },
      false);
  check_dropped(
      [&](TestGuest& guest) { guest.send_value(VhostUserRequest::kSetVringKick, kVringNoFd); },
      false);
}

TEST_CASE("vsock hostile: kick and call that are no eventfds") {
  int pipe_ends[2];
  REQUIRE(::pipe2(pipe_ends, O_CLOEXEC) == 0);
  const UniqueFd out(pipe_ends[0]);
  const UniqueFd in(pipe_ends[1]);
  const int fds[] = {in.get()};
  for (auto request : {VhostUserRequest::kSetVringKick, VhostUserRequest::kSetVringCall}) {
    check_dropped([&](TestGuest& guest) { guest.send_value(request, uint64_t{0}, fds); }, false);
  }
}

TEST_CASE("vsock hostile: features") {
  check_dropped([](TestGuest& guest) { guest.send_value(VhostUserRequest::kSetFeatures, ~0ULL); },
                false);
  // A legacy driver.
  check_dropped(
      [](TestGuest& guest) {
        guest.send_value(VhostUserRequest::kSetFeatures, kFeatureProtocolFeatures);
      },
      false);
  check_dropped(
      [](TestGuest& guest) { guest.send_value(VhostUserRequest::kSetProtocolFeatures, ~0ULL); },
      false);
}

TEST_CASE("vsock hostile: configuration space") {
  for (ConfigHeader header : {ConfigHeader{0, 9, 0}, ConfigHeader{8, 1, 0}, ConfigHeader{4, 8, 0},
                              ConfigHeader{UINT32_MAX, 8, 0}, ConfigHeader{0, UINT32_MAX, 0}}) {
    std::vector<uint8_t> payload(sizeof(header) + std::min<uint32_t>(header.size, 16));
    std::memcpy(payload.data(), &header, sizeof(header));
    check_dropped(
        [&](TestGuest& guest) { guest.send_message(VhostUserRequest::kGetConfig, payload); },
        false);
  }
}

TEST_CASE("vsock hostile: ring sizes, indexes and bases") {
  for (uint32_t size : {0U, 3U, 100U, 32769U, 65536U, 1U << 31, UINT32_MAX}) {
    check_dropped(
        [&](TestGuest& guest) {
          guest.send_value(VhostUserRequest::kSetVringNum, VringState{0, size});
        },
        false);
  }
  for (auto request : {VhostUserRequest::kSetVringNum, VhostUserRequest::kSetVringBase,
                       VhostUserRequest::kGetVringBase, VhostUserRequest::kSetVringEnable}) {
    for (uint32_t index : {2U, 3U, 255U, UINT32_MAX}) {
      check_dropped(
          [&](TestGuest& guest) {
            guest.send_value(request, VringState{index, 1});
          },
          false);
    }
  }
  check_dropped(
      [](TestGuest& guest) {
        guest.send_value(VhostUserRequest::kSetVringBase, VringState{0, 65536});
      },
      false);
  check_dropped(
      [](TestGuest& guest) {
        guest.send_value(VhostUserRequest::kSetVringEnable, VringState{0, 2});
      },
      false);
  // Not while it runs.
  check_dropped([](TestGuest& guest) {
    guest.send_value(VhostUserRequest::kSetVringNum, VringState{1, 64});
  });
  check_dropped([](TestGuest& guest) {
    guest.send_value(VhostUserRequest::kSetVringBase, VringState{1, 64});
  });
}

TEST_CASE("vsock hostile: ring addresses") {
  constexpr uint64_t kBase = TestGuest::kUserBase;
  constexpr uint64_t kEnd = kBase + TestGuest::kMemoryBytes;
  for (const VringAddress& address : {
           VringAddress{1, 0, kBase + 8, kBase + 0x8000, kBase + 0x4000, 0},
           VringAddress{1, 0, kBase, kBase + 0x8002, kBase + 0x4000, 0},
           VringAddress{1, 0, kBase, kBase + 0x8000, kBase + 0x4001, 0},
           VringAddress{1, 0, kEnd - 16, kBase + 0x8000, kBase + 0x4000, 0},
           VringAddress{1, 0, kBase, kEnd - 64, kBase + 0x4000, 0},
           VringAddress{1, 0, kBase, kBase + 0x8000, kEnd - 64, 0},
           VringAddress{1, 0, 0, 0, 0, 0},
           VringAddress{1, 0, UINT64_MAX - 15, UINT64_MAX - 3, UINT64_MAX - 1, 0},
           VringAddress{1, 0, kBase + TestGuest::kRegionBoundary - 64, kBase, kBase, 0},
           VringAddress{7, 0, kBase, kBase + 0x8000, kBase + 0x4000, 0},
       }) {
    check_dropped(
        [&](TestGuest& guest) { guest.send_value(VhostUserRequest::kSetVringAddr, address); });
  }
}

TEST_CASE("vsock hostile: messages out of order") {
  // A ring that is not complete does not run, whatever arrives.
  check_survived(
      [](TestGuest& guest) {
        guest.negotiate();
        const int kick[] = {guest.kick_fd(1)};
        guest.send_value(VhostUserRequest::kSetVringKick, uint64_t{1}, kick);
        guest.enable_ring(1);
        guest.kick(1);
        guest.sync();
        guest.send_value(VhostUserRequest::kSetVringAddr,
                         VringAddress{1, 0, TestGuest::kUserBase, TestGuest::kUserBase,
                                      TestGuest::kUserBase, 0});
        guest.kick(1);
        guest.sync();
        guest.share_memory();
        guest.kick(1);
        guest.sync();
        CHECK(guest.stop_ring(1) == 0);
        CHECK(guest.stop_ring(1) == 0);
      },
      false);
  // Everything but the features.
  check_survived(
      [](TestGuest& guest) {
        guest.send_value(VhostUserRequest::kSetProtocolFeatures, kProtocolFeatureReplyAck);
        guest.share_memory();
        guest.set_up_ring(1);
        guest.enable_ring(1);
        guest.set_available_index(1, 5000);
        guest.kick(1);
      },
      false);
}

TEST_CASE("vsock hostile: memory tables") {
  const uint64_t size = TestGuest::kMemoryBytes;
  const std::vector<std::vector<MemoryRegion>> tables = {
      {},
      {{0, 0, 0x10000, 0}},
      {{0, size + 1, 0x10000, 0}},
      {{0, size, 0x10000, 1}},
      {{0, 4096, 0x10000, size}},
      {{0, UINT64_MAX, 0x10000, 0}},
      {{UINT64_MAX - 100, 4096, 0x10000, 0}},
      {{0, 4096, UINT64_MAX - 100, 0}},
      {{0, 4096, 0x10000, UINT64_MAX - 100}},
      {{0, 4096, 0x10000, 1ULL << 63}},
      {{0, 8192, 0x10000, 0}, {4096, 8192, 0x20000, 0}},
      {{0, 8192, 0x10000, 0}, {0x100000, 8192, 0x11000, 0}},
      {{0, 8192, 0x10000, 0}, {0, 8192, 0x10000, 0}},
  };
  for (const auto& table : tables) {
    INFO("table of " << table.size());
    check_dropped(
        [&](TestGuest& guest) {
          const std::vector<int> fds(table.size(), guest.memory_fd());
          guest.send_message(VhostUserRequest::kSetMemTable, memory_table(table), fds);
        },
        false);
  }
  // Descriptors and regions that do not match; more regions than there may be.
  check_dropped(
      [](TestGuest& guest) {
        const int fds[] = {guest.memory_fd()};
        guest.send_message(VhostUserRequest::kSetMemTable, memory_table(guest.regions()), fds);
      },
      false);
  check_dropped(
      [](TestGuest& guest) {
        std::vector<uint8_t> payload = memory_table(guest.regions());
        payload[0] = 9;
        const std::vector<int> fds(2, guest.memory_fd());
        guest.send_message(VhostUserRequest::kSetMemTable, payload, fds);
      },
      false);
}

TEST_CASE("vsock hostile: single memory regions") {
  const MemoryRegion good{1ULL << 32, 4096, 1ULL << 32, 0};
  const auto send = [](TestGuest& guest, VhostUserRequest request, const MemoryRegion& region,
                       size_t fds = 1) {
    const std::vector<int> descriptors(fds, guest.memory_fd());
    guest.send_value(request, SingleMemoryRegion{0, region}, descriptors);
  };
  check_dropped([&](TestGuest& guest) { send(guest, VhostUserRequest::kAddMemReg, good, 0); });
  check_dropped([&](TestGuest& guest) { send(guest, VhostUserRequest::kAddMemReg, good, 2); });
  check_dropped([&](TestGuest& guest) { send(guest, VhostUserRequest::kRemMemReg, good); });
  check_dropped([&](TestGuest& guest) {
    send(guest, VhostUserRequest::kAddMemReg, {4096, 4096, 1ULL << 32, 0});
  });
  check_dropped([&](TestGuest& guest) {
    for (uint64_t i = 0; i <= kMaxMemorySlots; ++i) {
      send(guest, VhostUserRequest::kAddMemReg, {(i + 1) << 32, 4096, (i + 1) << 32, 0});
    }
  });
}

TEST_CASE("vsock hostile: memory that is no memory file") {
  int pipe_ends[2];
  REQUIRE(::pipe2(pipe_ends, O_CLOEXEC) == 0);
  const UniqueFd out(pipe_ends[0]);
  const UniqueFd in(pipe_ends[1]);
  const UniqueFd zero(::open("/dev/zero", O_RDWR | O_CLOEXEC));
  const UniqueFd read_only(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  for (int fd : {in.get(), zero.get(), read_only.get()}) {
    check_dropped(
        [&](TestGuest& guest) {
          const int fds[] = {fd};
          guest.send_message(VhostUserRequest::kSetMemTable, memory_table({{0, 4096, 0x10000, 0}}),
                             fds);
        },
        false);
  }
}

TEST_CASE("vsock hostile: memory cannot be truncated under the device") {
  check_survived([](TestGuest& guest) {
    CHECK(::ftruncate(guest.memory_fd(), 0) == -1);
    CHECK(errno == EPERM);
  });
}

TEST_CASE("vsock hostile: a front end that does not read its replies") {
  check_dropped(
      [](TestGuest& guest) {
        for (int i = 0; i < 20000; ++i) guest.send_message(VhostUserRequest::kGetFeatures);
        while (!guest.dropped()) {
        }
      },
      false);
}

}  // namespace kata::vsock::testing
