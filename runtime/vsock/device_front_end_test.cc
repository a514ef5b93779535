// What the front end (QEMU) does to the device while connections live: negotiation, rings, memory,
// and its end.
#include <cstring>

#include <catch2/catch.hpp>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/vsock/device.h"
#include "runtime/vsock/test_connections.h"

namespace kata::vsock::testing {

TEST_CASE("vsock device: handshake") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  CHECK(guest.get_u64(VhostUserRequest::kGetFeatures) == TestGuest::kAllFeatures);
  const uint64_t protocol = guest.get_u64(VhostUserRequest::kGetProtocolFeatures);
  // Without CONFIG, QEMU's vhost-user-vsock does not start.
  CHECK((protocol & kProtocolFeatureConfig) != 0);
  CHECK((protocol & kProtocolFeatureReplyAck) != 0);
  CHECK(guest.get_u64(VhostUserRequest::kGetQueueNum) == 2);
  CHECK(guest.get_u64(VhostUserRequest::kGetMaxMemSlots) == kMaxMemorySlots);

  struct {
    ConfigHeader header{0, 8, 0};
    uint64_t cid = 0;
  } __attribute__((packed)) config;
  guest.send_value(VhostUserRequest::kGetConfig, config);
  const auto reply = guest.read_reply(VhostUserRequest::kGetConfig);
  REQUIRE(reply.size() == sizeof(config));
  std::memcpy(&config, reply.data(), sizeof(config));
  const uint64_t cid = config.cid;
  CHECK(cid == 3);
}

TEST_CASE("vsock device: indirect descriptors and buffers across memory regions") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  const UniqueFd host = connect_from_guest(rig, guest, kGuestPort);
  const uint64_t table = 0x800000;
  const uint64_t header_at = 0x810000;
  const uint64_t data_at = TestGuest::kRegionBoundary - 1000;
  const std::string data = pattern(3000);
  const VsockHeader header = guest.make_header(VsockOp::kRw, kGuestPort, kPort, 3000);
  std::memcpy(guest.memory(header_at), &header, sizeof(header));
  std::memcpy(guest.memory(data_at), data.data(), data.size());
  // The header in two parts, an empty descriptor, then the payload.
  guest.put_descriptor(table, 0, {header_at, 10, kNext, 2});
  guest.put_descriptor(table, 2, {header_at + 10, 34, kNext, 1});
  guest.put_descriptor(table, 1, {0, 0, kNext, 3});
  guest.put_descriptor(table, 3, {data_at, 3000, 0, 0});
  guest.set_descriptor(kTransmitQueue, 100, {table, 4 * 16, kIndirect, 0});
  guest.offer(kTransmitQueue, 100);
  CHECK(read_exactly(host.get(), 3000) == data);
}

TEST_CASE("vsock device: rings stop and start again with their connections") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  const UniqueFd host = connect_from_guest(rig, guest, kGuestPort);
  guest.send(VsockOp::kRw, kGuestPort, kPort, "before");
  CHECK(read_exactly(host.get(), 6) == "before");
  const uint16_t receive_base = guest.stop_ring(kReceiveQueue);
  const uint16_t transmit_base = guest.stop_ring(kTransmitQueue);
  CHECK(transmit_base == 2);
  write_all(host.get(), "meanwhile");
  guest.set_up_ring(kReceiveQueue, receive_base);
  guest.set_up_ring(kTransmitQueue, transmit_base);
  guest.send(VsockOp::kRw, kGuestPort, kPort, "after");
  CHECK(read_exactly(host.get(), 5) == "after");
  CHECK(guest.expect(VsockOp::kRw).payload == "meanwhile");

  guest.enable_ring(kTransmitQueue, false);
  guest.sync();
  guest.send(VsockOp::kRw, kGuestPort, kPort, "disabled");
  guest.enable_ring(kTransmitQueue);
  CHECK(read_exactly(host.get(), 8) == "disabled");
}

TEST_CASE("vsock device: memory comes and goes one region at a time") {
  DeviceRig rig;
  TestGuest guest(rig.sockets().front_end);
  guest.negotiate();
  const auto ack = [&guest](VhostUserRequest request) {
    return guest.read_reply(request) == std::vector<uint8_t>(8, 0);
  };
  const int fds[] = {guest.memory_fd()};
  const uint32_t flags = kMessageVersion | kMessageNeedReply;
  for (const MemoryRegion& region : guest.regions()) {
    guest.send_value(VhostUserRequest::kAddMemReg, SingleMemoryRegion{0, region}, fds, flags);
    CHECK(ack(VhostUserRequest::kAddMemReg));
  }
  guest.set_up_ring(kReceiveQueue);
  guest.enable_ring(kReceiveQueue);
  guest.set_up_ring(kTransmitQueue);
  guest.enable_ring(kTransmitQueue);
  guest.post_receive_buffers();
  const UniqueFd host = connect_from_guest(rig, guest, kGuestPort);

  // A DIMM.
  UniqueFd dimm(::memfd_create("dimm", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(::ftruncate(dimm.get(), 1 << 20) == 0);
  const VsockHeader header = guest.make_header(VsockOp::kRw, kGuestPort, kPort, 4);
  REQUIRE(::pwrite(dimm.get(), &header, sizeof(header), 0) == sizeof(header));
  REQUIRE(::pwrite(dimm.get(), "dimm", 4, sizeof(header)) == 4);
  const SingleMemoryRegion added{0, {1ULL << 32, 1 << 20, 0x7f5500000000, 0}};
  const int dimm_fd[] = {dimm.get()};
  guest.send_value(VhostUserRequest::kAddMemReg, added, dimm_fd, flags);
  CHECK(ack(VhostUserRequest::kAddMemReg));
  guest.set_descriptor(kTransmitQueue, 100, {1ULL << 32, sizeof(header) + 4, 0, 0});
  guest.offer(kTransmitQueue, 100);
  CHECK(read_exactly(host.get(), 4) == "dimm");
  guest.send_value(VhostUserRequest::kRemMemReg, added, {}, flags);
  CHECK(ack(VhostUserRequest::kRemMemReg));

  // The rings' own region is taken out and put back: they pause.
  const SingleMemoryRegion rings{0, guest.regions()[0]};
  guest.send_value(VhostUserRequest::kRemMemReg, rings, {}, flags);
  CHECK(ack(VhostUserRequest::kRemMemReg));
  guest.send(VsockOp::kRw, kGuestPort, kPort, "paused");
  guest.send_value(VhostUserRequest::kAddMemReg, rings, fds, flags);
  CHECK(ack(VhostUserRequest::kAddMemReg));
  CHECK(read_exactly(host.get(), 6) == "paused");
}

TEST_CASE("vsock device: the front end leaves and another one comes") {
  DeviceRig rig;
  UniqueFd host;
  {
    TestGuest guest(rig.sockets().front_end);
    guest.start();
    host = connect_from_guest(rig, guest, kGuestPort);
    TestGuest second(rig.sockets().front_end);
    CHECK(second.dropped());
    guest.send(VsockOp::kRw, kGuestPort, kPort, "last words");
    guest.sync();
  }
  CHECK(read_exactly(host.get(), 100) == "last words");
  TestGuest guest(rig.sockets().front_end);
  guest.start();
  host = connect_from_guest(rig, guest, kGuestPort);
  guest.send_message(VhostUserRequest::kResetDevice);
  CHECK(reads_end(host.get()));
}

TEST_CASE("vsock device: leaves no files and no descriptors behind") {
  const size_t before = count_open_fds();
  std::filesystem::path dir;
  {
    DeviceRig rig;
    dir = rig.dir();
    TestGuest guest(rig.sockets().front_end);
    guest.start();
    const UniqueFd host = connect_from_guest(rig, guest, kGuestPort);
    const UniqueFd pending = connect_host(rig.sockets().host);
    write_all(pending.get(), "CONNECT 5\n");
    guest.expect(VsockOp::kRequest);
  }
  CHECK(count_open_fds() == before);
  const TempDir again;
  const DeviceSockets sockets{again.path() / "a", again.path() / "b"};
  REQUIRE(Device::create(sockets));
  CHECK(std::filesystem::is_empty(again.path()));
}

}  // namespace kata::vsock::testing
