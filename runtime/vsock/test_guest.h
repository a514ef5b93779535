// For tests: a vhost-user front end and a virtio driver in one, well-behaved by default and as
// hostile as a test wants.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "common/base/unique_fd.h"
#include "runtime/vsock/device.h"
#include "runtime/vsock/vhost_user_protocol.h"
#include "runtime/vsock/vsock_packet.h"

namespace kata::vsock::testing {

/// How long anything may take before a test fails; generous for sanitizers on a busy machine.
inline constexpr std::chrono::milliseconds kDeadline{20000};

/// A directory that is removed with its content.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

size_t count_open_fds();

/// A device on a thread of its own.
class DeviceRig {
 public:
  DeviceRig();
  ~DeviceRig();
  DeviceSockets sockets() const;
  const std::filesystem::path& dir() const { return dir_.path(); }

 private:
  TempDir dir_;
  UniqueFd stop_;
  std::unique_ptr<Device> device_;
  std::thread thread_;
};

/// Blocking helpers for host sockets; they fail the test at the deadline.
UniqueFd connect_host(const std::filesystem::path& path);
bool wait_readable(int fd, std::chrono::milliseconds timeout = kDeadline);
bool wait_writable(int fd, std::chrono::milliseconds timeout = kDeadline);
void write_all(int fd, std::string_view bytes);
/// Up to `bytes` bytes, fewer at end of file.
std::string read_exactly(int fd, size_t bytes);
std::string read_line(int fd);
/// True when the peer ends the stream (or resets it) and nothing else arrives.
bool reads_end(int fd);

struct Packet {
  VsockHeader header;
  std::string payload;
  VsockOp op() const { return static_cast<VsockOp>(header.op); }
};

struct RawDescriptor {
  uint64_t address = 0;
  uint32_t length = 0;
  uint16_t flags = 0;
  uint16_t next = 0;
};
inline constexpr uint16_t kNext = 1;
inline constexpr uint16_t kWrite = 2;
inline constexpr uint16_t kIndirect = 4;

class TestGuest {
 public:
  static constexpr uint16_t kQueueSize = 128;
  static constexpr uint64_t kMemoryBytes = 16 << 20;
  /// The RAM is offered as two regions that meet here.
  static constexpr uint64_t kRegionBoundary = 4 << 20;
  static constexpr uint64_t kUserBase = 0x7f1200000000;
  static constexpr uint64_t kAllFeatures =
      kFeatureVersion1 | kFeatureIndirectDesc | kFeatureEventIdx | kFeatureProtocolFeatures;
  static constexpr uint32_t kPeerBuffer = 256 * 1024;
  static constexpr uint32_t kReceiveBufferBytes = 4096;

  explicit TestGuest(const std::filesystem::path& front_end_socket);
  ~TestGuest();
  TestGuest(const TestGuest&) = delete;

  // ---- vhost-user ----
  void send_message(VhostUserRequest request, std::span<const uint8_t> payload = {},
                    std::span<const int> fds = {}, uint32_t flags = kMessageVersion);
  template <typename T>
  void send_value(VhostUserRequest request, const T& value, std::span<const int> fds = {},
                  uint32_t flags = kMessageVersion) {
    send_message(request, {reinterpret_cast<const uint8_t*>(&value), sizeof(value)}, fds, flags);
  }
  void send_raw(std::span<const uint8_t> bytes, std::span<const int> fds = {});
  /// The payload of the next reply.
  std::vector<uint8_t> read_reply(VhostUserRequest request);
  uint64_t get_u64(VhostUserRequest request);
  /// Waits for the answer to a harmless request: everything sent before has been handled.
  void sync();
  /// Waits until the device has hung up.
  bool dropped();

  void negotiate(uint64_t features = kAllFeatures);
  void send_memory_table(uint32_t flags = kMessageVersion);
  /// Sends the table and waits until it is taken.
  void share_memory();
  void set_up_ring(uint32_t index, uint16_t base = 0);
  void enable_ring(uint32_t index, bool enable = true);
  uint16_t stop_ring(uint32_t index);
  /// All of the above, and receive buffers.
  void start(uint64_t features = kAllFeatures, bool post_buffers = true);
  std::vector<MemoryRegion> regions() const;
  int memory_fd() const { return memory_fd_.get(); }
  int kick_fd(uint32_t index) const { return rings_[index].kick.get(); }
  int call_fd(uint32_t index) const { return rings_[index].call.get(); }

  // ---- rings ----
  uint8_t* memory(uint64_t guest_address) { return memory_ + guest_address; }
  static uint64_t descriptor_table(uint32_t ring) { return 0x10000 + ring * 0x10000; }
  static uint64_t available_ring(uint32_t ring) { return descriptor_table(ring) + 0x4000; }
  static uint64_t used_ring(uint32_t ring) { return descriptor_table(ring) + 0x8000; }
  void set_descriptor(uint32_t ring, uint16_t index, RawDescriptor descriptor);
  void put_descriptor(uint64_t table, uint16_t index, RawDescriptor descriptor);
  /// Makes the chain that starts at `head` available and kicks.
  void offer(uint32_t ring, uint16_t head);
  void set_available_index(uint32_t ring, uint16_t index);
  uint16_t used_index(uint32_t ring);
  void kick(uint32_t ring);
  void post_receive_buffers();

  // ---- packets ----
  /// Sends a packet from CID 3 to CID 2 with this guest's credit.
  void send(VsockOp op, uint32_t guest_port, uint32_t host_port, std::string_view payload = {},
            uint32_t flags = 0);
  void send_packet(const VsockHeader& header, std::string_view payload);
  VsockHeader make_header(VsockOp op, uint32_t guest_port, uint32_t host_port, uint32_t length = 0,
                          uint32_t flags = 0) const;
  /// The next packet from the device; nullopt when none came in time.
  std::optional<Packet> receive(std::chrono::milliseconds timeout = kDeadline);
  /// The next packet that is not a credit update or request.
  Packet expect(VsockOp op);
  /// The next packet; fails the test when none comes.
  Packet expect_any();
  /// Guest side's fwd_cnt in the packets it sends.
  uint32_t forwarded = 0;
  uint32_t buffer = kPeerBuffer;
  /// When false, used receive buffers are not offered again.
  bool repost = true;

 private:
  struct Ring {
    UniqueFd kick;
    UniqueFd call;
    uint16_t available = 0;
    uint16_t used_seen = 0;
  };

  void offer_receive_buffer(uint16_t slot);
  bool wait_used(uint32_t ring, std::chrono::milliseconds timeout);
  uint16_t take_transmit_slot();

  UniqueFd socket_;
  UniqueFd memory_fd_;
  uint8_t* memory_ = nullptr;
  Ring rings_[2];
  std::vector<uint16_t> free_slots_;
};

}  // namespace kata::vsock::testing
