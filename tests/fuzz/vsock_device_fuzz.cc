// The vhost-user vsock device against a guest and a QEMU that do anything, and host clients that
// come and go. An input is a sequence of 16-byte records, one step each. Everything runs on one
// thread, so that an input always takes the same path.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log/log.h"
#include "runtime/vsock/device.h"
#include "runtime/vsock/test_guest.h"
#include "runtime/vsock/unix_socket.h"
#include "tests/fuzz/mutation.h"

namespace kata::vsock::testing {
namespace {

constexpr uint32_t kPort = 700;
constexpr size_t kMaxClients = 12;

struct Step {
  uint8_t kind;
  uint8_t a;
  uint16_t b;
  uint32_t c;
  uint64_t d;
};
static_assert(sizeof(Step) == 16);

constexpr VhostUserRequest kRequests[] = {
    VhostUserRequest::kGetFeatures,
    VhostUserRequest::kSetFeatures,
    VhostUserRequest::kSetOwner,
    VhostUserRequest::kResetOwner,
    VhostUserRequest::kSetMemTable,
    VhostUserRequest::kSetVringNum,
    VhostUserRequest::kSetVringAddr,
    VhostUserRequest::kSetVringBase,
    VhostUserRequest::kGetVringBase,
    VhostUserRequest::kSetVringKick,
    VhostUserRequest::kSetVringCall,
    VhostUserRequest::kSetVringErr,
    VhostUserRequest::kGetQueueNum,
    VhostUserRequest::kSetVringEnable,
    VhostUserRequest::kGetConfig,
    VhostUserRequest::kSetConfig,
    VhostUserRequest::kResetDevice,
    VhostUserRequest::kGetMaxMemSlots,
    VhostUserRequest::kAddMemReg,
    VhostUserRequest::kRemMemReg,
    VhostUserRequest::kGetProtocolFeatures,
    VhostUserRequest::kSetProtocolFeatures,
};

class World {
 public:
  World() {
    auto device = Device::create(sockets_);
    auto listener = listen_unix(dir_.path() / "vsock.sock_700");
    if (!device || !listener) std::abort();
    device_ = std::move(*device);
    listener_ = std::move(*listener);
    begin_session(true);
  }

  void take(const Step& step) {
    switch (step.kind % 20) {
      case 0:
        guest_->send_raw({reinterpret_cast<const uint8_t*>(&step), 1U + step.a % 16});
        break;
      case 1:
        send_any(step);
        break;
      case 2:
        send_ring_state(step);
        break;
      case 3:
        guest_->send_value(VhostUserRequest::kSetVringAddr,
                           VringAddress{step.a & 3U, 0, user_address(step.d),
                                        user_address(step.d >> 16), user_address(step.c), 0});
        break;
      case 4:
        change_region(step);
        break;
      case 5:
        guest_->set_descriptor(step.a & 1, step.b % 256,
                               {address(step.d), step.c, static_cast<uint16_t>(step.a >> 1 & 7),
                                static_cast<uint16_t>(step.b >> 8)});
        break;
      case 6:
        guest_->offer(step.a & 1, step.b % (step.a & 2 ? 65536 : 256));
        break;
      case 7:
        guest_->set_available_index(step.a & 1, step.b);
        break;
      case 8:
      case 9:
      case 10:
        send_packet(step);
        break;
      case 11:
        add_client(connect_unix(sockets_.host));
        if (!clients_.empty()) write_client(clients_.size() - 1, "CONNECT 5\n");
        break;
      case 12:
        add_client(
            UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)));
        break;
      case 13:
        write_client(step.a, std::string(step.c % 100000, 'x'));
        break;
      case 14:
        read_client(step.a, step.c % 500000);
        break;
      case 15:
        end_client(step);
        break;
      case 16:
        guest_->post_receive_buffers();
        break;
      case 17:
        std::memcpy(guest_->memory(0x10000 + step.b % 0x20000), &step.d, sizeof(step.d));
        break;
      case 18:
        begin_session(step.a & 1);
        break;
      default:
        guest_->kick(step.a & 1);
        break;
    }
    for (int rounds = 0; rounds < 2 + step.a / 64; ++rounds) device_->run_once(PaceClock::now());
  }

 private:
  // Nothing here waits for the device, which runs on this thread.
  void begin_session(bool complete) {
    guest_.reset();
    device_->run_once(PaceClock::now());
    guest_ = std::make_unique<TestGuest>(sockets_.front_end);
    if (!complete) return;
    guest_->send_value(VhostUserRequest::kSetProtocolFeatures,
                       kProtocolFeatureReplyAck | kProtocolFeatureConfigureMemSlots);
    guest_->send_value(VhostUserRequest::kSetFeatures, TestGuest::kAllFeatures);
    guest_->send_memory_table();
    for (uint32_t ring : {kReceiveQueue, kTransmitQueue}) {
      guest_->set_up_ring(ring);
      guest_->enable_ring(ring);
    }
    guest_->post_receive_buffers();
    for (int rounds = 0; rounds < 3; ++rounds) device_->run_once(PaceClock::now());
  }

  // Mostly inside memory, near its end and its inner boundary; sometimes anywhere.
  static uint64_t address(uint64_t raw) {
    switch (raw >> 60) {
      case 0:
        return raw;
      case 1:
        return TestGuest::kMemoryBytes - raw % 8192;
      case 2:
        return TestGuest::kRegionBoundary - raw % 8192;
      default:
        return raw % TestGuest::kMemoryBytes;
    }
  }
  static uint64_t user_address(uint64_t raw) { return TestGuest::kUserBase + raw % 0x4000 * 16; }

  void send_any(const Step& step) {
    const VhostUserRequest request = kRequests[step.a % std::size(kRequests)];
    std::vector<uint8_t> payload(step.b % 64);
    for (size_t i = 0; i < payload.size(); ++i) {
      payload[i] = reinterpret_cast<const uint8_t*>(&step.c)[i % 12];
    }
    const std::vector<int> fds(step.b >> 12,
                               step.b & 0x800 ? guest_->memory_fd() : guest_->kick_fd(0));
    guest_->send_message(request, payload, fds, kMessageVersion | (step.b & 0x400 ? 8U : 0U));
  }

  void send_ring_state(const Step& step) {
    constexpr VhostUserRequest kStateRequests[] = {
        VhostUserRequest::kSetVringNum, VhostUserRequest::kSetVringBase,
        VhostUserRequest::kSetVringEnable, VhostUserRequest::kGetVringBase};
    const uint32_t ring = step.b & 1;
    if (step.b & 4) {
      guest_->set_up_ring(ring, static_cast<uint16_t>(step.c));
    } else {
      guest_->send_value(kStateRequests[step.a % 4], VringState{ring, step.c});
    }
  }

  void change_region(const Step& step) {
    SingleMemoryRegion single{0, guest_->regions()[step.b & 1]};
    if (step.b & 2) single.region = {address(step.d), step.c, 1ULL << 32, step.d & 0xfff000};
    const int fds[] = {guest_->memory_fd()};
    if (step.b & 4) {
      guest_->send_value(VhostUserRequest::kAddMemReg, single, fds);
    } else {
      guest_->send_value(VhostUserRequest::kRemMemReg, single);
    }
  }

  void send_packet(const Step& step) {
    const uint32_t host_port =
        step.a & 4 ? kFirstHostPort + (step.a >> 3 & 3) : kPort + (step.a >> 3 & 1);
    const uint32_t guest_port = step.a & 4 ? 5 : step.a & 3;
    const uint32_t length = step.c & 1U << 31 ? step.c : step.c % 70000;
    VsockHeader header = guest_->make_header(static_cast<VsockOp>(step.b % 10), guest_port,
                                             host_port, length, step.d & 7);
    header.buf_alloc = static_cast<uint32_t>(step.d >> 8) & 0xffffff;
    header.fwd_cnt = static_cast<uint32_t>(step.d >> 32);
    if (step.b & 0x4000) header.src_cid = step.d;
    if (step.b & 0x8000) header.type = static_cast<uint16_t>(step.d);
    // 16 places in turn, and the header at an odd address.
    const uint64_t place = 0x900000 + (packets_ % 16) * 0x12000 + (step.b >> 8 & 1);
    const auto head = static_cast<uint16_t>(packets_++ % 16 * 2);
    std::memcpy(guest_->memory(place), &header, sizeof(header));
    const uint32_t carried = step.b & 0x2000 ? length + 1 : length;
    guest_->set_descriptor(kTransmitQueue, head,
                           {place, sizeof(header), kNext, static_cast<uint16_t>(head + 1)});
    guest_->set_descriptor(kTransmitQueue, static_cast<uint16_t>(head + 1),
                           {place + sizeof(header), carried, 0, 0});
    guest_->offer(kTransmitQueue, head);
  }

  void add_client(std::expected<UniqueFd, int> socket) {
    if (socket && *socket && clients_.size() < kMaxClients) {
      clients_.push_back(std::move(*socket));
    }
  }

  UniqueFd* client(size_t index) {
    return clients_.empty() ? nullptr : &clients_[index % clients_.size()];
  }

  void write_client(size_t index, std::string_view bytes) {
    if (UniqueFd* socket = client(index)) {
      [[maybe_unused]] ssize_t sent =
          ::send(socket->get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  }

  void read_client(size_t index, size_t bytes) {
    buffer_.resize(bytes);
    if (UniqueFd* socket = client(index)) {
      [[maybe_unused]] ssize_t read =
          ::recv(socket->get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    }
  }

  void end_client(const Step& step) {
    UniqueFd* socket = client(step.a);
    if (socket == nullptr) return;
    if (step.b % 4 < 3) {
      ::shutdown(socket->get(), step.b % 4);
    } else {
      clients_.erase(clients_.begin() + (socket - clients_.data()));
    }
  }

  TempDir dir_;
  DeviceSockets sockets_{dir_.path() / "vhost-vsock.sock", dir_.path() / "vsock.sock"};
  std::unique_ptr<Device> device_;
  UniqueFd listener_;
  std::unique_ptr<TestGuest> guest_;
  std::vector<UniqueFd> clients_;
  std::vector<char> buffer_;
  size_t packets_ = 0;
};

}  // namespace
}  // namespace kata::vsock::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kata::vsock::testing;
  static const kata::UniqueFd no_log(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  kata::log::set_output(no_log.get());
  static const size_t open_before = count_open_fds();
  {
    World world;
    for (; size >= sizeof(Step); data += sizeof(Step), size -= sizeof(Step)) {
      Step step;
      std::memcpy(&step, data, sizeof(step));
      world.take(step);
    }
  }
  if (count_open_fds() != open_before) {
    std::fprintf(stderr, "descriptors leaked\n");
    std::abort();
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  using namespace kata::fuzz;
  Random random(seed);
  constexpr size_t kStepBytes = sizeof(kata::vsock::testing::Step);
  return put_result(mutate_records(as_text(data, size), kStepBytes, random), data, max_size);
}
