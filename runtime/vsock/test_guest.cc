#include "runtime/vsock/test_guest.h"

#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/vsock/unix_socket.h"

namespace kata::vsock::testing {
namespace {

constexpr uint64_t kReceiveBuffers = 0x100000;
constexpr uint16_t kReceiveSlots = TestGuest::kQueueSize / 2;
constexpr uint64_t kReceiveSlotBytes = 0x2000;
// Transmit buffers lie on both sides of the boundary between the memory regions.
constexpr uint64_t kTransmitBuffers = 0x200000;
constexpr uint16_t kTransmitSlots = TestGuest::kQueueSize / 2;
constexpr uint64_t kTransmitSlotBytes = 0x11000;
constexpr uint16_t kBoundarySlot =
    (TestGuest::kRegionBoundary - kTransmitBuffers) / kTransmitSlotBytes;
static_assert(kTransmitBuffers + kTransmitSlots * kTransmitSlotBytes <= TestGuest::kMemoryBytes);

// Tests cannot go on when one of these fails; Catch reports the exception.
[[noreturn]] void give_up(const std::string& what) { throw std::runtime_error(what); }

uint16_t load(const uint8_t* source) {
  return __atomic_load_n(reinterpret_cast<const uint16_t*>(source), __ATOMIC_SEQ_CST);
}
void store(uint8_t* target, uint16_t value) {
  __atomic_store_n(reinterpret_cast<uint16_t*>(target), value, __ATOMIC_SEQ_CST);
}

}  // namespace

TempDir::TempDir() {
  char name[] = "/tmp/vsock-test-XXXXXX";
  if (::mkdtemp(name) == nullptr) give_up("mkdtemp");
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

size_t count_open_fds() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

DeviceRig::DeviceRig() : stop_(::eventfd(0, EFD_CLOEXEC)) {
  auto device = Device::create(sockets());
  if (!device) give_up(device.error().message());
  device_ = std::move(*device);
  thread_ = std::thread([this] { device_->run(stop_.get()); });
}

DeviceRig::~DeviceRig() {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

DeviceSockets DeviceRig::sockets() const {
  return {dir_.path() / "vhost-vsock.sock", dir_.path() / "vsock.sock"};
}

// ---- host sockets ----

UniqueFd connect_host(const std::filesystem::path& path) {
  auto socket = connect_unix(path);
  if (!socket) give_up("connect to " + path.native());
  return std::move(*socket);
}

bool wait_readable(int fd, std::chrono::milliseconds timeout) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, static_cast<int>(timeout.count())) == 1;
}

bool wait_writable(int fd, std::chrono::milliseconds timeout) {
  pollfd entry{fd, POLLOUT, 0};
  return ::poll(&entry, 1, static_cast<int>(timeout.count())) == 1;
}

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    if (!wait_writable(fd)) give_up("a write did not finish in time");
    const ssize_t written = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (written < 0 && errno != EAGAIN) give_up(std::string("write: ") + ::strerror(errno));
    if (written > 0) bytes.remove_prefix(static_cast<size_t>(written));
  }
}

std::string read_exactly(int fd, size_t bytes) {
  std::string text(bytes, '\0');
  size_t done = 0;
  while (done < bytes) {
    if (!wait_readable(fd)) give_up("a read did not finish in time");
    const ssize_t read = ::recv(fd, text.data() + done, bytes - done, MSG_DONTWAIT);
    if (read < 0 && errno == EAGAIN) continue;
    if (read <= 0) break;
    done += static_cast<size_t>(read);
  }
  text.resize(done);
  return text;
}

std::string read_line(int fd) {
  std::string line;
  while (true) {
    const std::string next = read_exactly(fd, 1);
    if (next.empty() || next == "\n") return line;
    line += next;
  }
}

bool reads_end(int fd) { return read_exactly(fd, 1).empty(); }

// ---- vhost-user ----

TestGuest::TestGuest(const std::filesystem::path& front_end_socket)
    : socket_(connect_host(front_end_socket)),
      memory_fd_(::memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
  if (::ftruncate(memory_fd_.get(), kMemoryBytes) != 0) give_up("ftruncate");
  void* mapped =
      ::mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd_.get(), 0);
  if (mapped == MAP_FAILED) give_up("mmap");
  memory_ = static_cast<uint8_t*>(mapped);
  for (Ring& ring : rings_) {
    ring.kick.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    ring.call.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  }
  for (uint16_t slot = 0; slot < kTransmitSlots; ++slot) free_slots_.push_back(slot);
  // The first packets use the slot that lies across the regions' boundary.
  std::swap(free_slots_.back(), free_slots_[kBoundarySlot]);
}

TestGuest::~TestGuest() { ::munmap(memory_, kMemoryBytes); }

void TestGuest::send_message(VhostUserRequest request, std::span<const uint8_t> payload,
                             std::span<const int> fds, uint32_t flags) {
  const VhostUserHeader header{static_cast<uint32_t>(request), flags,
                               static_cast<uint32_t>(payload.size())};
  std::vector<uint8_t> bytes(sizeof(header) + payload.size());
  std::memcpy(bytes.data(), &header, sizeof(header));
  if (!payload.empty()) std::memcpy(bytes.data() + sizeof(header), payload.data(), payload.size());
  send_raw(bytes, fds);
}

void TestGuest::send_raw(std::span<const uint8_t> bytes, std::span<const int> fds) {
  iovec part{const_cast<uint8_t*>(bytes.data()), bytes.size()};
  std::vector<char> control(CMSG_SPACE(fds.size_bytes()));
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  // The device may have hung up already for an earlier message: dropped() is what tests ask.
  [[maybe_unused]] ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
}

std::vector<uint8_t> TestGuest::read_reply(VhostUserRequest request) {
  const std::string raw = read_exactly(socket_.get(), sizeof(VhostUserHeader));
  VhostUserHeader header;
  if (raw.size() != sizeof(header)) give_up("the device hung up instead of a reply");
  std::memcpy(&header, raw.data(), sizeof(header));
  if (header.request != static_cast<uint32_t>(request) ||
      header.flags != (kMessageVersion | kMessageReply)) {
    give_up("a reply to another request");
  }
  const std::string payload = read_exactly(socket_.get(), header.size);
  return {payload.begin(), payload.end()};
}

uint64_t TestGuest::get_u64(VhostUserRequest request) {
  send_message(request);
  const auto reply = read_reply(request);
  uint64_t value;
  if (reply.size() != sizeof(value)) give_up("a reply of another size");
  std::memcpy(&value, reply.data(), sizeof(value));
  return value;
}

void TestGuest::sync() { get_u64(VhostUserRequest::kGetFeatures); }

bool TestGuest::dropped() { return reads_end(socket_.get()); }

void TestGuest::negotiate(uint64_t features) {
  get_u64(VhostUserRequest::kGetFeatures);
  const uint64_t protocol = get_u64(VhostUserRequest::kGetProtocolFeatures);
  send_value(VhostUserRequest::kSetProtocolFeatures, protocol);
  send_message(VhostUserRequest::kSetOwner);
  send_value(VhostUserRequest::kSetFeatures, features);
}

std::vector<MemoryRegion> TestGuest::regions() const {
  return {{0, kRegionBoundary, kUserBase, 0},
          {kRegionBoundary, kMemoryBytes - kRegionBoundary, kUserBase + kRegionBoundary,
           kRegionBoundary}};
}

void TestGuest::send_memory_table(uint32_t flags) {
  const auto table = regions();
  const MemoryTableHeader header{static_cast<uint32_t>(table.size()), 0};
  std::vector<uint8_t> payload(sizeof(header) + table.size() * sizeof(MemoryRegion));
  std::memcpy(payload.data(), &header, sizeof(header));
  std::memcpy(payload.data() + sizeof(header), table.data(), table.size() * sizeof(MemoryRegion));
  const int fds[] = {memory_fd(), memory_fd()};
  send_message(VhostUserRequest::kSetMemTable, payload, fds, flags);
}

void TestGuest::share_memory() {
  send_memory_table(kMessageVersion | kMessageNeedReply);
  for (uint8_t byte : read_reply(VhostUserRequest::kSetMemTable)) {
    if (byte != 0) give_up("the memory table was refused");
  }
}

void TestGuest::set_up_ring(uint32_t index, uint16_t base) {
  Ring& ring = rings_[index];
  send_value(VhostUserRequest::kSetVringNum, VringState{index, kQueueSize});
  send_value(VhostUserRequest::kSetVringBase, VringState{index, base});
  send_value(VhostUserRequest::kSetVringAddr,
             VringAddress{index, 0, kUserBase + descriptor_table(index),
                          kUserBase + used_ring(index), kUserBase + available_ring(index), 0});
  const int kick[] = {ring.kick.get()};
  send_value(VhostUserRequest::kSetVringKick, uint64_t{index}, kick);
  const int call[] = {ring.call.get()};
  send_value(VhostUserRequest::kSetVringCall, uint64_t{index}, call);
}

void TestGuest::enable_ring(uint32_t index, bool enable) {
  send_value(VhostUserRequest::kSetVringEnable, VringState{index, enable ? 1U : 0U});
}

uint16_t TestGuest::stop_ring(uint32_t index) {
  send_value(VhostUserRequest::kGetVringBase, VringState{index, 0});
  const auto reply = read_reply(VhostUserRequest::kGetVringBase);
  VringState state;
  std::memcpy(&state, reply.data(), sizeof(state));
  return static_cast<uint16_t>(state.num);
}

void TestGuest::start(uint64_t features, bool post_buffers) {
  negotiate(features);
  share_memory();
  for (uint32_t ring : {kReceiveQueue, kTransmitQueue}) {
    set_up_ring(ring);
    enable_ring(ring);
  }
  sync();
  if (post_buffers) post_receive_buffers();
}

// ---- rings ----

void TestGuest::put_descriptor(uint64_t table, uint16_t index, RawDescriptor descriptor) {
  static_assert(sizeof(RawDescriptor) == 16);
  std::memcpy(memory(table + index * sizeof(descriptor)), &descriptor, sizeof(descriptor));
}

void TestGuest::set_descriptor(uint32_t ring, uint16_t index, RawDescriptor descriptor) {
  put_descriptor(descriptor_table(ring), index, descriptor);
}

void TestGuest::offer(uint32_t ring, uint16_t head) {
  Ring& state = rings_[ring];
  store(memory(available_ring(ring) + 4 + (state.available % kQueueSize) * 2), head);
  set_available_index(ring, static_cast<uint16_t>(state.available + 1));
  kick(ring);
}

void TestGuest::set_available_index(uint32_t ring, uint16_t index) {
  rings_[ring].available = index;
  // An interrupt for everything: used_event follows what has been seen.
  store(memory(available_ring(ring) + 4 + kQueueSize * 2), rings_[ring].used_seen);
  store(memory(available_ring(ring) + 2), index);
}

uint16_t TestGuest::used_index(uint32_t ring) { return load(memory(used_ring(ring) + 2)); }

void TestGuest::kick(uint32_t ring) {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(rings_[ring].kick.get(), &one, sizeof(one));
}

bool TestGuest::wait_used(uint32_t ring, std::chrono::milliseconds timeout) {
  Ring& state = rings_[ring];
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (used_index(ring) == state.used_seen) {
    store(memory(available_ring(ring) + 4 + kQueueSize * 2), state.used_seen);
    if (used_index(ring) != state.used_seen) break;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !wait_readable(state.call.get(), left)) return false;
    uint64_t count;
    [[maybe_unused]] ssize_t read = ::read(state.call.get(), &count, sizeof(count));
  }
  return true;
}

void TestGuest::post_receive_buffers() {
  for (uint16_t slot = 0; slot < kReceiveSlots; ++slot) offer_receive_buffer(slot);
}

void TestGuest::offer_receive_buffer(uint16_t slot) {
  const auto head = static_cast<uint16_t>(slot * 2);
  const uint64_t address = kReceiveBuffers + slot * kReceiveSlotBytes;
  set_descriptor(kReceiveQueue, head,
                 {address, sizeof(VsockHeader), kWrite | kNext, static_cast<uint16_t>(head + 1)});
  set_descriptor(kReceiveQueue, static_cast<uint16_t>(head + 1),
                 {address + 64, kReceiveBufferBytes, kWrite, 0});
  offer(kReceiveQueue, head);
}

// ---- packets ----

VsockHeader TestGuest::make_header(VsockOp op, uint32_t guest_port, uint32_t host_port,
                                   uint32_t length, uint32_t flags) const {
  VsockHeader header;
  header.src_cid = kGuestCid;
  header.dst_cid = kHostCid;
  header.src_port = guest_port;
  header.dst_port = host_port;
  header.len = length;
  header.op = static_cast<uint16_t>(op);
  header.flags = flags;
  header.buf_alloc = buffer;
  header.fwd_cnt = forwarded;
  return header;
}

void TestGuest::send(VsockOp op, uint32_t guest_port, uint32_t host_port, std::string_view payload,
                     uint32_t flags) {
  send_packet(make_header(op, guest_port, host_port, static_cast<uint32_t>(payload.size()), flags),
              payload);
}

uint16_t TestGuest::take_transmit_slot() {
  Ring& ring = rings_[kTransmitQueue];
  while (free_slots_.empty() || used_index(kTransmitQueue) != ring.used_seen) {
    if (!wait_used(kTransmitQueue, kDeadline)) give_up("the device takes no packets");
    uint32_t id;
    std::memcpy(&id, memory(used_ring(kTransmitQueue) + 4 + (ring.used_seen % kQueueSize) * 8),
                sizeof(id));
    ++ring.used_seen;
    free_slots_.push_back(static_cast<uint16_t>(id / 2));
  }
  const uint16_t slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

void TestGuest::send_packet(const VsockHeader& header, std::string_view payload) {
  const uint16_t slot = take_transmit_slot();
  const auto head = static_cast<uint16_t>(slot * 2);
  const uint64_t address = kTransmitBuffers + slot * kTransmitSlotBytes;
  std::memcpy(memory(address), &header, sizeof(header));
  if (!payload.empty()) std::memcpy(memory(address + 64), payload.data(), payload.size());
  const bool two = !payload.empty();
  set_descriptor(
      kTransmitQueue, head,
      {address, sizeof(header), two ? kNext : uint16_t{0}, static_cast<uint16_t>(head + 1)});
  set_descriptor(kTransmitQueue, static_cast<uint16_t>(head + 1),
                 {address + 64, static_cast<uint32_t>(payload.size()), 0, 0});
  offer(kTransmitQueue, head);
}

std::optional<Packet> TestGuest::receive(std::chrono::milliseconds timeout) {
  if (!wait_used(kReceiveQueue, timeout)) return std::nullopt;
  Ring& ring = rings_[kReceiveQueue];
  uint32_t element[2];
  std::memcpy(element, memory(used_ring(kReceiveQueue) + 4 + (ring.used_seen % kQueueSize) * 8),
              sizeof(element));
  ++ring.used_seen;
  const auto slot = static_cast<uint16_t>(element[0] / 2);
  const uint64_t address = kReceiveBuffers + slot * kReceiveSlotBytes;
  Packet packet;
  std::memcpy(&packet.header, memory(address), sizeof(packet.header));
  const uint32_t length = packet.header.len;
  if (element[1] != sizeof(packet.header) + length) give_up("used length and packet differ");
  packet.payload.assign(reinterpret_cast<const char*>(memory(address + 64)), length);
  if (repost) offer_receive_buffer(slot);
  return packet;
}

Packet TestGuest::expect_any() {
  auto packet = receive();
  if (!packet) give_up("no packet in time");
  return *packet;
}

Packet TestGuest::expect(VsockOp op) {
  while (true) {
    const Packet packet = expect_any();
    if (packet.op() == op) return packet;
    if (packet.op() == VsockOp::kCreditUpdate || packet.op() == VsockOp::kCreditRequest) continue;
    give_up("op " + std::to_string(packet.header.op) + " instead of " + std::to_string(int(op)));
  }
}

}  // namespace kata::vsock::testing
