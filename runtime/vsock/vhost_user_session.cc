#include "runtime/vsock/vhost_user_session.h"

#include <cstring>
#include <span>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

namespace kata::vsock {
namespace {

constexpr uint64_t kOfferedFeatures =
    kFeatureVersion1 | kFeatureIndirectDesc | kFeatureEventIdx | kFeatureProtocolFeatures;
constexpr uint64_t kOfferedProtocolFeatures = kProtocolFeatureMq | kProtocolFeatureReplyAck |
                                              kProtocolFeatureConfig | kProtocolFeatureResetDevice |
                                              kProtocolFeatureConfigureMemSlots;

std::vector<uint8_t> bytes_of(const auto& value) {
  const auto* first = reinterpret_cast<const uint8_t*>(&value);
  return {first, first + sizeof(value)};
}

template <typename T>
Result<T> payload(const VhostUserMessage& message) {
  if (auto value = message.as<T>()) return *value;
  return fail(Code::kInvalidArgument, "vhost-user message {} of {} bytes, {} expected",
              message.request, message.payload.size(), sizeof(T));
}

bool takes_fds(VhostUserRequest request) {
  switch (request) {
    case VhostUserRequest::kSetMemTable:
    case VhostUserRequest::kAddMemReg:
    case VhostUserRequest::kRemMemReg:  // older QEMU sends one that has no use
    case VhostUserRequest::kSetVringKick:
    case VhostUserRequest::kSetVringCall:
    case VhostUserRequest::kSetVringErr:
      return true;
    default:
      return false;
  }
}

// Only an eventfd: writing to any other kind of file might block the device thread or raise a
// signal.
Status check_eventfd(const UniqueFd& fd) {
  char target[64];
  const std::string link = fmt::format("/proc/self/fd/{}", fd.get());
  const ssize_t length = ::readlink(link.c_str(), target, sizeof(target));
  if (length < 0) return fail_errno("identify a descriptor of the vhost-user front end");
  if (std::string_view(target, static_cast<size_t>(length)) != "anon_inode:[eventfd]") {
    return fail(Code::kInvalidArgument, "a kick, call or error descriptor is not an eventfd");
  }
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail_errno("make an eventfd non-blocking");
  }
  return {};
}

}  // namespace

VhostUserSession::VhostUserSession(Observer& observer, uint64_t guest_cid)
    : observer_(observer),
      guest_cid_(guest_cid),
      rings_{Ring(memory_, Virtqueue::Direction::kDeviceWrites),
             Ring(memory_, Virtqueue::Direction::kDeviceReads)} {}

VhostUserSession::~VhostUserSession() { stop_rings(); }

Result<std::optional<std::vector<uint8_t>>> VhostUserSession::handle(VhostUserMessage message) {
  const bool wants_ack = (message.flags & kMessageNeedReply) != 0 &&
                         (protocol_features_ & kProtocolFeatureReplyAck) != 0;
  if (!message.fds.empty() && !takes_fds(static_cast<VhostUserRequest>(message.request))) {
    return fail(Code::kInvalidArgument, "vhost-user message {} carries {} descriptors",
                message.request, message.fds.size());
  }
  KATA_TRY(Reply reply, dispatch(message));
  if (!reply && wants_ack) reply = bytes_of(uint64_t{0});
  return reply;
}

Result<VhostUserSession::Reply> VhostUserSession::dispatch(VhostUserMessage& message) {
  switch (static_cast<VhostUserRequest>(message.request)) {
    case VhostUserRequest::kGetFeatures:
      return bytes_of(kOfferedFeatures);
    case VhostUserRequest::kSetFeatures:
      KATA_CHECK(set_features(message));
      return std::nullopt;
    case VhostUserRequest::kGetProtocolFeatures:
      return bytes_of(kOfferedProtocolFeatures);
    case VhostUserRequest::kSetProtocolFeatures:
      KATA_CHECK(set_protocol_features(message));
      return std::nullopt;
    case VhostUserRequest::kSetOwner:
      return std::nullopt;
    case VhostUserRequest::kResetOwner:
      // Deprecated; the specification recommends no more than this.
      stop_rings();
      return std::nullopt;
    case VhostUserRequest::kResetDevice:
      reset();
      return std::nullopt;
    case VhostUserRequest::kGetQueueNum:
      return bytes_of(uint64_t{kQueueCount});
    case VhostUserRequest::kGetConfig:
      return get_config(message);
    case VhostUserRequest::kSetConfig:
      return fail(Code::kInvalidArgument, "the vsock configuration (guest CID) is read-only");
    case VhostUserRequest::kSetMemTable:
    case VhostUserRequest::kGetMaxMemSlots:
    case VhostUserRequest::kAddMemReg:
    case VhostUserRequest::kRemMemReg:
      return dispatch_memory(message);
    default:
      return dispatch_ring(message);
  }
}

Result<VhostUserSession::Reply> VhostUserSession::dispatch_memory(VhostUserMessage& message) {
  switch (static_cast<VhostUserRequest>(message.request)) {
    case VhostUserRequest::kGetMaxMemSlots:
      return bytes_of(uint64_t{kMaxMemorySlots});
    case VhostUserRequest::kSetMemTable:
      KATA_CHECK(set_memory_table(message));
      break;
    default:
      KATA_CHECK(change_memory_region(message));
      break;
  }
  refresh_rings();
  return std::nullopt;
}

Result<VhostUserSession::Reply> VhostUserSession::dispatch_ring(VhostUserMessage& message) {
  switch (static_cast<VhostUserRequest>(message.request)) {
    case VhostUserRequest::kSetVringNum:
    case VhostUserRequest::kSetVringBase:
    case VhostUserRequest::kSetVringEnable:
      KATA_CHECK(set_ring_state(message));
      break;
    case VhostUserRequest::kSetVringAddr:
      KATA_CHECK(set_ring_address(message));
      break;
    case VhostUserRequest::kGetVringBase:
      return get_ring_base(message);
    case VhostUserRequest::kSetVringKick:
    case VhostUserRequest::kSetVringCall:
    case VhostUserRequest::kSetVringErr:
      KATA_CHECK(set_ring_fd(message));
      break;
    default:
      return fail(Code::kInvalidArgument, "unknown vhost-user message {}", message.request);
  }
  refresh_rings();
  return std::nullopt;
}

Status VhostUserSession::set_features(const VhostUserMessage& message) {
  KATA_TRY(const uint64_t wanted, payload<uint64_t>(message));
  if (wanted & ~kOfferedFeatures) {
    return fail(Code::kInvalidArgument, "features {:#x} were never offered",
                wanted & ~kOfferedFeatures);
  }
  if (!(wanted & kFeatureVersion1)) {
    return fail(Code::kInvalidArgument,
                "the guest's driver is a legacy one: a virtio 1.x driver is needed "
                "(device option disable-legacy=on)");
  }
  features_ = wanted;
  for (Ring& ring : rings_) {
    ring.queue.set_features((wanted & kFeatureIndirectDesc) != 0, (wanted & kFeatureEventIdx) != 0);
    // Without protocol features there is no SET_VRING_ENABLE.
    if (!(wanted & kFeatureProtocolFeatures)) ring.enabled = true;
  }
  return {};
}

Status VhostUserSession::set_protocol_features(const VhostUserMessage& message) {
  KATA_TRY(const uint64_t wanted, payload<uint64_t>(message));
  if (wanted & ~kOfferedProtocolFeatures) {
    return fail(Code::kInvalidArgument, "vhost-user protocol features {:#x} were never offered",
                wanted & ~kOfferedProtocolFeatures);
  }
  protocol_features_ = wanted;
  return {};
}

Result<VhostUserSession::Reply> VhostUserSession::get_config(
    const VhostUserMessage& message) const {
  ConfigHeader header;
  if (message.payload.size() < sizeof(header)) {
    return fail(Code::kInvalidArgument, "GET_CONFIG of {} bytes", message.payload.size());
  }
  std::memcpy(&header, message.payload.data(), sizeof(header));
  // struct virtio_vsock_config (virtio 1.2 section 5.10.4) has one field.
  const auto config = bytes_of(guest_cid_);
  if (header.size != message.payload.size() - sizeof(header) || header.size > config.size() ||
      header.offset > config.size() - header.size) {
    return fail(Code::kInvalidArgument, "GET_CONFIG of {} bytes at {} of a configuration of {}",
                header.size, header.offset, config.size());
  }
  std::vector<uint8_t> reply = bytes_of(header);
  reply.insert(reply.end(), config.begin() + header.offset,
               config.begin() + header.offset + header.size);
  return reply;
}

Status VhostUserSession::set_memory_table(const VhostUserMessage& message) {
  MemoryTableHeader header;
  if (message.payload.size() < sizeof(header)) {
    return fail(Code::kInvalidArgument, "SET_MEM_TABLE of {} bytes", message.payload.size());
  }
  std::memcpy(&header, message.payload.data(), sizeof(header));
  if (header.count == 0 || header.count > kMaxTableRegions ||
      message.payload.size() != sizeof(header) + header.count * sizeof(MemoryRegion) ||
      message.fds.size() != header.count) {
    return fail(Code::kInvalidArgument,
                "SET_MEM_TABLE of {} regions in {} bytes with {} descriptors", header.count,
                message.payload.size(), message.fds.size());
  }
  std::vector<MemoryRegion> regions(header.count);
  std::memcpy(regions.data(), message.payload.data() + sizeof(header),
              header.count * sizeof(MemoryRegion));
  return memory_.replace(regions, message.fds);
}

Status VhostUserSession::change_memory_region(const VhostUserMessage& message) {
  KATA_TRY(const SingleMemoryRegion single, payload<SingleMemoryRegion>(message));
  const bool add = message.request == static_cast<uint32_t>(VhostUserRequest::kAddMemReg);
  if (message.fds.size() > 1 || (add && message.fds.empty())) {
    return fail(Code::kInvalidArgument, "{} with {} descriptors",
                add ? "ADD_MEM_REG" : "REM_MEM_REG", message.fds.size());
  }
  return add ? memory_.add(single.region, message.fds.front()) : memory_.remove(single.region);
}

Result<VhostUserSession::Ring*> VhostUserSession::ring(uint32_t index) {
  if (index >= kQueueCount) {
    return fail(Code::kInvalidArgument, "virtqueue {} of a device with {}", index, kQueueCount);
  }
  return &rings_[index];
}

Status VhostUserSession::set_ring_address(const VhostUserMessage& message) {
  KATA_TRY(const VringAddress address, payload<VringAddress>(message));
  KATA_TRY(Ring* const target, ring(address.index));
  target->queue.set_address(address);
  if (target->queue.size() != 0 && !target->queue.resolve()) {
    return fail(Code::kInvalidArgument,
                "rings of virtqueue {} (descriptors {:#x}, available {:#x}, used {:#x}) are not "
                "aligned inside guest memory",
                address.index, address.descriptors, address.available, address.used);
  }
  return {};
}

Status VhostUserSession::set_ring_state(const VhostUserMessage& message) {
  KATA_TRY(const VringState state, payload<VringState>(message));
  KATA_TRY(Ring* const target, ring(state.index));
  switch (static_cast<VhostUserRequest>(message.request)) {
    case VhostUserRequest::kSetVringEnable:
      if (state.num > 1) {
        return fail(Code::kInvalidArgument, "SET_VRING_ENABLE with {}", state.num);
      }
      target->enabled = state.num == 1;
      return {};
    case VhostUserRequest::kSetVringNum:
      if (target->started) break;
      return target->queue.set_size(state.num);
    default:
      if (target->started || state.num > UINT16_MAX) break;
      target->queue.set_base(static_cast<uint16_t>(state.num));
      return {};
  }
  return fail(Code::kInvalidArgument, "vhost-user message {} with value {} for virtqueue {} ({})",
              message.request, state.num, state.index, target->started ? "running" : "stopped");
}

Result<VhostUserSession::Reply> VhostUserSession::get_ring_base(const VhostUserMessage& message) {
  KATA_TRY(VringState state, payload<VringState>(message));
  KATA_TRY(Ring* const target, ring(state.index));
  stop_ring(state.index);
  state.num = target->queue.base();
  return bytes_of(state);
}

Status VhostUserSession::set_ring_fd(VhostUserMessage& message) {
  KATA_TRY(const uint64_t value, payload<uint64_t>(message));
  const auto index = static_cast<uint32_t>(value & kVringIndexMask);
  KATA_TRY(Ring* const target, ring(index));
  const size_t expected = (value & kVringNoFd) ? 0 : 1;
  if ((value & ~(kVringIndexMask | kVringNoFd)) != 0 || message.fds.size() != expected) {
    return fail(Code::kInvalidArgument, "vhost-user message {} with value {:#x} and {} descriptors",
                message.request, value, message.fds.size());
  }
  UniqueFd fd;
  if (expected == 1) {
    fd = std::move(message.fds.front());
    KATA_CHECK(check_eventfd(fd));
  }
  switch (static_cast<VhostUserRequest>(message.request)) {
    case VhostUserRequest::kSetVringCall:
      target->call = std::move(fd);
      return {};
    case VhostUserRequest::kSetVringErr:
      // A violation ends the session, which the front end sees on its socket.
      return {};
    default:
      break;
  }
  if (!fd) return fail(Code::kInvalidArgument, "virtqueue {} wants to be polled", index);
  if (target->kick) observer_.kick_removed(index, target->kick.get());
  target->kick = std::move(fd);
  observer_.kick_added(index, target->kick.get());
  return {};
}

// A ring runs once it has its size, its addresses inside guest memory and its kick. It pauses while
// a change of the memory table leaves its addresses outside.
void VhostUserSession::refresh_rings() {
  for (Ring& ring : rings_) {
    if (!ring.queue.resolve() || ring.started || !ring.kick || !(features_ & kFeatureVersion1)) {
      continue;
    }
    ring.queue.start();
    ring.started = true;
  }
}

Virtqueue* VhostUserSession::queue(uint32_t index) {
  Ring& ring = rings_[index];
  return ring.started && ring.enabled && ring.queue.resolved() ? &ring.queue : nullptr;
}

void VhostUserSession::interrupt(uint32_t index) {
  const uint64_t one = 1;
  // A full counter means that an interrupt is pending already.
  if (rings_[index].call) {
    [[maybe_unused]] ssize_t written = ::write(rings_[index].call.get(), &one, sizeof(one));
  }
}

void VhostUserSession::stop_ring(uint32_t index) {
  Ring& ring = rings_[index];
  if (ring.kick) {
    observer_.kick_removed(index, ring.kick.get());
    ring.kick.reset();
  }
  ring.call.reset();
  ring.started = false;
}

void VhostUserSession::stop_rings() {
  for (uint32_t index = 0; index < kQueueCount; ++index) stop_ring(index);
}

// "Disable all rings and reset all internal device state"; the front end keeps the protocol
// features and the memory table, which it does not send again.
void VhostUserSession::reset() {
  stop_rings();
  for (Ring& ring : rings_) {
    ring.queue.reset();
    ring.enabled = false;
  }
  features_ = 0;
  observer_.device_reset();
}

}  // namespace kata::vsock
