// The kernel's word of devices that come and go (NETLINK_KOBJECT_UEVENT; the guest has no udev).
#pragma once

#include <chrono>
#include <initializer_list>
#include <string_view>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::sandbox {

/// From open() on nothing is missed. One thread at a time.
class Uevents {
 public:
  static Result<Uevents> open();

  /// Readable when something has come. Non-blocking.
  int descriptor() const { return socket_.get(); }

  /// Reads all that has come: whether one event has all of these lines ("ACTION=add",
  /// "SUBSYSTEM=block"…), or some were lost, of which it may be one.
  bool take(std::initializer_list<std::string_view> lines);
  /// Waits until take() would say yes: whether it did before the deadline.
  Result<bool> wait(std::initializer_list<std::string_view> lines,
                    std::chrono::steady_clock::time_point deadline);

 private:
  explicit Uevents(UniqueFd socket) : socket_(std::move(socket)) {}
  UniqueFd socket_;
};

}  // namespace kata::sandbox
