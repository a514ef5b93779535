// Connections and their streams, as guest and host see them.
#include "runtime/vsock/device.h"

#include <cstring>
#include <map>

#include <catch2/catch.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/vsock/test_connections.h"

namespace kata::vsock::testing {
namespace {

constexpr uint64_t kPlainFeatures = kFeatureVersion1 | kFeatureProtocolFeatures;
/// The host has closed; the device may say so in two steps.
void expect_full_shutdown(TestGuest& guest) {
  while (guest.expect(VsockOp::kShutdown).header.flags != kShutdownBoth) {
  }
}

/// The guest sends all of `data` within the credit that the device gives.
class GuestSender {
 public:
  GuestSender(TestGuest& guest, uint32_t guest_port, uint32_t host_port)
      : guest_(guest), guest_port_(guest_port), host_port_(host_port) {}

  void send(std::string_view data) {
    while (!data.empty()) {
      const uint32_t room = buf_alloc - (sent_ - fwd_cnt);
      if (room == 0) {
        take(guest_.expect_any());
        continue;
      }
      const auto part = data.substr(0, std::min<size_t>(room, 65536));
      guest_.send(VsockOp::kRw, guest_port_, host_port_, part);
      sent_ += static_cast<uint32_t>(part.size());
      data.remove_prefix(part.size());
    }
  }
  void take(const Packet& packet) {
    buf_alloc = packet.header.buf_alloc;
    fwd_cnt = packet.header.fwd_cnt;
  }

  uint32_t buf_alloc = 0;
  uint32_t fwd_cnt = 0;

 private:
  TestGuest& guest_;
  uint32_t guest_port_;
  uint32_t host_port_;
  uint32_t sent_ = 0;
};

}  // namespace

TEST_CASE("vsock device: the guest connects to the host") {
  const uint64_t features = GENERATE(as<uint64_t>{}, TestGuest::kAllFeatures, kPlainFeatures);
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start(features);
  const UniqueFd host = connect_from_guest(rig, guest, kGuestPort);

  const std::string up = pattern(60000);
  guest.send(VsockOp::kRw, kGuestPort, kPort, up);
  CHECK(read_exactly(host.get(), up.size()) == up);

  write_all(host.get(), "to the guest");
  const Packet data = guest.expect(VsockOp::kRw);
  CHECK(data.payload == "to the guest");
  CHECK(data.header.src_cid == 2);
  CHECK(data.header.dst_cid == 3);
  CHECK(data.header.type == 1);
  CHECK(data.header.fwd_cnt == up.size());
}

TEST_CASE("vsock device: the host connects to the guest") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  const UniqueFd host = connect_host(rig.sockets().host);
  // What follows the line is part of the stream already.
  write_all(host.get(), "CONNECT 1024\nearly");
  const Packet request = guest.expect(VsockOp::kRequest);
  CHECK(request.header.dst_port == 1024);
  const uint32_t host_port = request.header.src_port;
  guest.send(VsockOp::kResponse, 1024, host_port);
  CHECK(read_line(host.get()) == "OK " + std::to_string(host_port));
  CHECK(guest.expect(VsockOp::kRw).payload == "early");

  guest.send(VsockOp::kRw, 1024, host_port, "hello");
  CHECK(read_exactly(host.get(), 5) == "hello");
}

TEST_CASE("vsock device: connections that nobody takes") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  SECTION("no listener on the host") {
    guest.send(VsockOp::kRequest, kGuestPort, kPort);
    const Packet reset = guest.expect(VsockOp::kRst);
    CHECK(reset.header.src_port == kPort);
    CHECK(reset.header.dst_port == kGuestPort);
  }
  SECTION("a listener that has gone") {
    listen_unix(listener_path(rig, kPort))->reset();
    guest.send(VsockOp::kRequest, kGuestPort, kPort);
    guest.expect(VsockOp::kRst);
  }
  SECTION("no listener in the guest") {
    const UniqueFd host = connect_host(rig.sockets().host);
    write_all(host.get(), "CONNECT 9\n");
    const Packet request = guest.expect(VsockOp::kRequest);
    guest.send(VsockOp::kRst, 9, request.header.src_port);
    CHECK(reads_end(host.get()));
  }
  SECTION("a host client that gives up") {
    UniqueFd host = connect_host(rig.sockets().host);
    write_all(host.get(), "CONNECT 9\n");
    const Packet request = guest.expect(VsockOp::kRequest);
    host.reset();
    CHECK(guest.expect(VsockOp::kRst).header.src_port == request.header.src_port);
  }
  SECTION("host clients that do not say CONNECT") {
    for (const char* line : {"HELLO\n", "CONNECT\n", "CONNECT x\n", "CONNECT 1 \n", "CONNECT -1\n",
                             "CONNECT 4294967296\n", "CONNECT 11111111111111111111111", "\n"}) {
      const UniqueFd host = connect_host(rig.sockets().host);
      write_all(host.get(), line);
      CHECK(reads_end(host.get()));
    }
    const UniqueFd half = connect_host(rig.sockets().host);
    write_all(half.get(), "CONN");
    ::shutdown(half.get(), SHUT_WR);
    CHECK(reads_end(half.get()));
  }
}

TEST_CASE("vsock device: a host client without a guest is turned away") {
  DeviceRig rig;
  const UniqueFd host = connect_host(rig.sockets().host);
  write_all(host.get(), "CONNECT 1\n");
  CHECK(reads_end(host.get()));
}

TEST_CASE("vsock device: half-close") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  UniqueFd host = connect_from_guest(rig, guest, kGuestPort);
  SECTION("the guest stops sending") {
    guest.send(VsockOp::kRw, kGuestPort, kPort, "last words");
    guest.send(VsockOp::kShutdown, kGuestPort, kPort, {}, kShutdownSend);
    CHECK(read_exactly(host.get(), 100) == "last words");
    write_all(host.get(), "still flows");
    CHECK(guest.expect(VsockOp::kRw).payload == "still flows");
    host.reset();
    expect_full_shutdown(guest);
  }
  SECTION("the host stops sending") {
    write_all(host.get(), "last words");
    ::shutdown(host.get(), SHUT_WR);
    CHECK(guest.expect(VsockOp::kRw).payload == "last words");
    CHECK(guest.expect(VsockOp::kShutdown).header.flags == kShutdownSend);
    guest.send(VsockOp::kRw, kGuestPort, kPort, "still flows");
    CHECK(read_exactly(host.get(), 11) == "still flows");
    guest.send(VsockOp::kShutdown, kGuestPort, kPort, {}, kShutdownBoth);
    guest.expect(VsockOp::kRst);
    CHECK(reads_end(host.get()));
  }
  SECTION("the guest stops receiving") {
    guest.send(VsockOp::kShutdown, kGuestPort, kPort, {}, kShutdownReceive);
    guest.send(VsockOp::kRw, kGuestPort, kPort, "still flows");
    CHECK(read_exactly(host.get(), 11) == "still flows");
    CHECK(::send(host.get(), "x", 1, MSG_NOSIGNAL) == -1);
    CHECK(errno == EPIPE);
  }
  SECTION("the host closes") {
    write_all(host.get(), "bye");
    host.reset();
    std::string got;
    uint32_t flags = 0;
    while (flags != kShutdownBoth) {
      const Packet packet = guest.expect_any();
      got += packet.payload;
      if (packet.op() == VsockOp::kShutdown) flags = packet.header.flags;
    }
    CHECK(got == "bye");
    guest.send(VsockOp::kRst, kGuestPort, kPort);
    // The stream is gone: whatever comes now belongs to nothing.
    guest.send(VsockOp::kRw, kGuestPort, kPort, "x");
    guest.expect(VsockOp::kRst);
  }
  SECTION("the host goes while the guest sends") {
    host.reset();
    GuestSender sender(guest, kGuestPort, kPort);
    sender.buf_alloc = 200000;
    guest.send(VsockOp::kRw, kGuestPort, kPort, "into the void");
    expect_full_shutdown(guest);
    guest.send(VsockOp::kShutdown, kGuestPort, kPort, {}, kShutdownBoth);
    guest.expect(VsockOp::kRst);
  }
}

TEST_CASE("vsock device: a slow host reader gets everything that the guest sent before it closed") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  const UniqueFd host = connect_from_guest(rig, guest, kGuestPort);
  GuestSender sender(guest, kGuestPort, kPort);
  sender.buf_alloc = 1024 * 1024;
  // Far more than the socket takes.
  const std::string data = pattern(900000);
  sender.send(data);
  const bool reset = GENERATE(false, true);
  if (reset) {
    guest.send(VsockOp::kRst, kGuestPort, kPort);
  } else {
    guest.send(VsockOp::kShutdown, kGuestPort, kPort, {}, kShutdownBoth);
    guest.expect(VsockOp::kRst);
  }
  CHECK(read_exactly(host.get(), data.size() + 1) == data);
}

TEST_CASE("vsock device: the guest's credit stops the host and lets it go on") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  guest.buffer = 10000;
  const UniqueFd host = connect_from_guest(rig, guest, kGuestPort);
  const std::string data = pattern(25000);
  write_all(host.get(), data);
  std::string got;
  bool asked = false;
  while (got.size() < 10000 || !asked) {
    const auto packet = guest.receive();
    REQUIRE(packet);
    got += packet->payload;
    asked |= packet->op() == VsockOp::kCreditRequest;
  }
  CHECK(got.size() == 10000);
  // An update without news must not start a conversation.
  guest.send(VsockOp::kCreditUpdate, kGuestPort, kPort);
  guest.send(VsockOp::kCreditRequest, kGuestPort, kPort);
  CHECK(guest.receive()->op() == VsockOp::kCreditUpdate);
  guest.forwarded = 10000;
  guest.send(VsockOp::kCreditUpdate, kGuestPort, kPort);
  while (got.size() < 20000) got += guest.expect(VsockOp::kRw).payload;
  CHECK(got.size() == 20000);
  guest.forwarded = 20000;
  guest.send(VsockOp::kCreditUpdate, kGuestPort, kPort);
  while (got.size() < 25000) got += guest.expect(VsockOp::kRw).payload;
  CHECK(got == data);
}

TEST_CASE("vsock device: the guest hears that one packet has been taken") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  const UniqueFd host = connect_from_guest(rig, guest, kGuestPort);
  // Little and much, of which the device waits for more.
  const size_t size = GENERATE(1, 60000);
  for (unsigned i = 0; i < 3; ++i) {
    guest.send(VsockOp::kRw, kGuestPort, kPort, pattern(size, i));
    REQUIRE(wait_readable(guest.call_fd(kTransmitQueue)));
    uint64_t interrupts = 0;
    REQUIRE(::read(guest.call_fd(kTransmitQueue), &interrupts, sizeof(interrupts)) > 0);
    CHECK(read_exactly(host.get(), size) == pattern(size, i));
  }
}

TEST_CASE("vsock device: a stopped host reader stalls only its own stream") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  const UniqueFd slow = connect_from_guest(rig, guest, kGuestPort);
  const UniqueFd quick = connect_from_guest(rig, guest, kGuestPort + 1);
  // Fill the stopped stream until the device gives no more credit.
  GuestSender sender(guest, kGuestPort, kPort);
  sender.buf_alloc = 1024 * 1024;
  std::string stuck;
  uint32_t sent = 0;
  while (true) {
    const uint32_t room = sender.buf_alloc - (sent - sender.fwd_cnt);
    if (room > 0) {
      const std::string part = pattern(std::min<uint32_t>(room, 65536), sent);
      guest.send(VsockOp::kRw, kGuestPort, kPort, part);
      stuck += part;
      sent += static_cast<uint32_t>(part.size());
      continue;
    }
    guest.send(VsockOp::kCreditRequest, kGuestPort, kPort);
    const Packet update = guest.expect_any();
    const bool news = update.header.fwd_cnt != sender.fwd_cnt;
    sender.take(update);
    if (!news) break;
  }
  // The other one moves as if nothing were.
  for (unsigned i = 0; i < 50; ++i) {
    const std::string part = pattern(20000, i);
    guest.send(VsockOp::kRw, kGuestPort + 1, kPort, part);
    REQUIRE(read_exactly(quick.get(), part.size()) == part);
    write_all(quick.get(), "ack");
    REQUIRE(guest.expect(VsockOp::kRw).payload == "ack");
    guest.forwarded += 3;
  }
  // And the first resumes when it is read.
  guest.forwarded = 0;
  CHECK(read_exactly(slow.get(), stuck.size()) == stuck);
  while (sender.fwd_cnt == sent - sender.buf_alloc) sender.take(guest.expect_any());
  guest.send(VsockOp::kRw, kGuestPort, kPort, "on");
  CHECK(read_exactly(slow.get(), 2) == "on");
}

TEST_CASE("vsock device: a guest stream without credit stalls only itself") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  guest.buffer = 100;
  const UniqueFd slow = connect_from_guest(rig, guest, kGuestPort);
  guest.buffer = TestGuest::kPeerBuffer;
  const UniqueFd quick = connect_from_guest(rig, guest, kGuestPort + 1);
  write_all(slow.get(), pattern(50000));
  CHECK(guest.expect(VsockOp::kRw).payload.size() == 100);
  const std::string data = pattern(200000);
  write_all(quick.get(), data);
  std::string got;
  while (got.size() < data.size()) {
    const Packet packet = guest.expect(VsockOp::kRw);
    REQUIRE(packet.header.dst_port == kGuestPort + 1);
    got += packet.payload;
  }
  CHECK(got == data);
}

TEST_CASE("vsock device: receive buffers run out and come back") {
  const uint64_t features = GENERATE(as<uint64_t>{}, TestGuest::kAllFeatures, kPlainFeatures);
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start(features);
  guest.repost = false;
  guest.buffer = 1 << 20;
  const UniqueFd host = connect_from_guest(rig, guest, kGuestPort);
  const std::string data = pattern(600000);
  std::thread writer([&] { write_all(host.get(), data); });
  std::string got;
  // The response has used one of the 64 buffers.
  for (int i = 0; i < 63; ++i) got += guest.receive()->payload;
  CHECK_FALSE(guest.receive(std::chrono::milliseconds(1)));
  guest.repost = true;
  guest.post_receive_buffers();
  while (got.size() < data.size()) got += guest.receive()->payload;
  writer.join();
  CHECK(got == data);
}

TEST_CASE("vsock device: 64 connections at once, both ways") {
  constexpr uint32_t kCount = 64;
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  std::vector<UniqueFd> hosts;
  for (uint32_t i = 0; i < kCount; ++i) {
    hosts.push_back(connect_host(rig.sockets().host));
    write_all(hosts.back().get(), "CONNECT 7\n");
  }
  // The guest echoes until every stream has ended.
  std::thread echo([&] {
    uint32_t ended = 0;
    std::map<uint32_t, uint32_t> counts;
    while (ended < kCount) {
      const auto packet = guest.receive();
      if (!packet) break;
      const uint32_t port = packet->header.src_port;
      if (packet->op() == VsockOp::kRequest) guest.send(VsockOp::kResponse, 7, port);
      if (packet->op() == VsockOp::kRw) {
        counts[port] += static_cast<uint32_t>(packet->payload.size());
        guest.forwarded = counts[port];
        guest.send(VsockOp::kRw, 7, port, packet->payload);
      }
      if (packet->op() == VsockOp::kShutdown && (packet->header.flags & kShutdownSend)) {
        guest.forwarded = counts[port];
        guest.send(VsockOp::kShutdown, 7, port, {}, kShutdownBoth);
        ++ended;
      }
      guest.forwarded = 0;
    }
  });
  for (uint32_t i = 0; i < kCount; ++i) {
    REQUIRE(read_line(hosts[i].get()).starts_with("OK "));
    write_all(hosts[i].get(), pattern(30000, i));
    ::shutdown(hosts[i].get(), SHUT_WR);
  }
  for (uint32_t i = 0; i < kCount; ++i) {
    CHECK(read_exactly(hosts[i].get(), 30001) == pattern(30000, i));
  }
  echo.join();
}

}  // namespace kata::vsock::testing
