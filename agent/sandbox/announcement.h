// Tells the host that the agent listens, each time the VM gets a vsock device: at boot, when the
// device is there already; in a VM that was saved as a template, when each clone gets its own.
#pragma once

#include <memory>

#include "agent/sandbox/event_loop.h"
#include "agent/sandbox/uevents.h"
#include "common/error/error.h"

namespace kata::sandbox {

class Announcement {
 public:
  /// Watches the kernel's uevents from now on; announces at once when there is a device. Errors of
  /// the host's side (nobody listens) are logged: the host may still connect.
  static Result<std::unique_ptr<Announcement>> begin();

  /// From here on each new device is answered on the loop's thread. `loop` outlives this object.
  Status follow(EventLoop& loop);

  ~Announcement();
  Announcement(const Announcement&) = delete;
  Announcement& operator=(const Announcement&) = delete;

 private:
  explicit Announcement(Uevents uevents) : uevents_(std::move(uevents)) {}
  void read_uevents();

  Uevents uevents_;
  EventLoop* loop_ = nullptr;
  EventLoop::WatchId watch_ = 0;
};

}  // namespace kata::sandbox
