// What a hostile QEMU may try over the vhost-user socket. The device must end the session, keep the
// process alive, leak nothing, and serve the next front end.
#include <cstring>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/vsock/hostile_rig.h"

namespace kata::vsock::testing {
namespace {

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
