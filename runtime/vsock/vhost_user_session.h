// State of one vhost-user front end: features, memory table and the two rings.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "runtime/vsock/guest_memory.h"
#include "runtime/vsock/vhost_user_socket.h"
#include "runtime/vsock/virtqueue.h"

namespace kata::vsock {

/// Queues of a vsock device that a back end serves (virtio 1.2 section 5.10.2). The third, for
/// events, stays with QEMU.
inline constexpr uint32_t kReceiveQueue = 0;
inline constexpr uint32_t kTransmitQueue = 1;
inline constexpr uint32_t kQueueCount = 2;

/// Legal order of calls: handle() per message, as they arrive; queue(), interrupt() at any time. An
/// error from handle() is a violation of the protocol: drop the session. Used on one thread.
class VhostUserSession {
 public:
  /// Told while a message is being handled.
  class Observer {
   public:
    virtual ~Observer() = default;
    /// From now on `fd` is readable when the driver kicks the queue.
    virtual void kick_added(uint32_t queue, int fd) = 0;
    /// `fd` is about to be closed. The front end may hold the same eventfd open, so that an epoll
    /// set would not forget it by itself.
    virtual void kick_removed(uint32_t queue, int fd) = 0;
    /// The driver starts over: no connection survives.
    virtual void device_reset() = 0;
  };

  VhostUserSession(Observer& observer, uint64_t guest_cid);
  VhostUserSession(const VhostUserSession&) = delete;
  VhostUserSession& operator=(const VhostUserSession&) = delete;
  ~VhostUserSession();

  /// Carries the message out. The payload of the reply where one is due.
  Result<std::optional<std::vector<uint8_t>>> handle(VhostUserMessage message);

  /// The queue when the front end has started and enabled it, else nullptr.
  Virtqueue* queue(uint32_t index);
  /// Raises the queue's interrupt.
  void interrupt(uint32_t index);

 private:
  struct Ring {
    Ring(const GuestMemory& memory, Virtqueue::Direction direction) : queue(memory, direction) {}

    Virtqueue queue;
    UniqueFd kick;
    UniqueFd call;
    bool enabled = false;
    bool started = false;
  };
  using Reply = std::optional<std::vector<uint8_t>>;

  Result<Reply> dispatch(VhostUserMessage& message);
  Result<Reply> dispatch_memory(VhostUserMessage& message);
  Result<Reply> dispatch_ring(VhostUserMessage& message);

  Status set_features(const VhostUserMessage& message);
  Status set_protocol_features(const VhostUserMessage& message);
  Result<Reply> get_config(const VhostUserMessage& message) const;
  Status set_memory_table(const VhostUserMessage& message);
  Status change_memory_region(const VhostUserMessage& message);
  Status set_ring_address(const VhostUserMessage& message);
  Status set_ring_state(const VhostUserMessage& message);
  Result<Reply> get_ring_base(const VhostUserMessage& message);
  Status set_ring_fd(VhostUserMessage& message);

  Result<Ring*> ring(uint32_t index);
  void refresh_rings();
  void stop_ring(uint32_t index);
  void stop_rings();
  void reset();

  Observer& observer_;
  const uint64_t guest_cid_;
  GuestMemory memory_;
  std::array<Ring, kQueueCount> rings_;
  uint64_t features_ = 0;
  uint64_t protocol_features_ = 0;
};

}  // namespace kata::vsock
