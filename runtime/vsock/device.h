// The vhost-user vsock device of one VM: back end of QEMU's vhost-user-vsock-pci.
//
// Trust: the guest and the QEMU process may send anything. A violation of the vhost-user protocol
// or of the virtqueues ends the session (one line in the log says why) and with it the guest's
// vsock; a violation within one stream resets that stream. Neither harms this process.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "common/error/error.h"
#include "runtime/vsock/event_loop.h"
#include "runtime/vsock/host_listener.h"
#include "runtime/vsock/muxer.h"
#include "runtime/vsock/unix_socket.h"
#include "runtime/vsock/vhost_user_session.h"
#include "runtime/vsock/vhost_user_socket.h"

namespace kata::vsock {

/// Every VM has a vsock device of its own, so the same CID serves all.
inline constexpr uint64_t kGuestCid = 3;

struct DeviceSockets {
  /// QEMU connects here.
  std::filesystem::path front_end;
  /// Host clients connect here; the guest's connections go to this path with "_<port>".
  std::filesystem::path host;
};

/// Created on any thread, then used on one. Serves one front end at a time, and the next one when
/// that has gone.
class Device : private VhostUserSession::Observer {
 public:
  static Result<std::unique_ptr<Device>> create(const DeviceSockets& sockets);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device() override;

  /// Serves until `stop_fd` becomes readable.
  void run(int stop_fd);

  /// One round: waits for events, `until` then at most, and handles them. False when there is more
  /// to do at once. Part of run(); tests call it to stay on one thread.
  bool run_once(std::optional<PaceClock::time_point> until);

 private:
  explicit Device(EventLoop loop, const std::filesystem::path& guest_connect_base)
      : loop_(std::move(loop)), muxer_(loop_, guest_connect_base, kGuestCid) {}

  void dispatch(const Event& event);
  void accept_front_end();
  Status serve_front_end();
  void end_session(const Error& reason);
  void serve_last_words();

  void kick_added(uint32_t queue, int fd) override;
  void kick_removed(uint32_t queue, int fd) override;
  void device_reset() override;

  DeviceSockets sockets_;
  EventLoop loop_;
  Muxer muxer_;
  std::optional<UnixListener> front_end_listener_;
  std::optional<HostListener> host_listener_;
  std::optional<VhostUserSocket> front_end_;
  std::unique_ptr<VhostUserSession> session_;
  bool stopping_ = false;
};

}  // namespace kata::vsock
