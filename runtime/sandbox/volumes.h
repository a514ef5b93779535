// Block devices of the host that containers of one pod use.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "common/sys/async.h"
#include "common/sys/event.h"
#include "runtime/sandbox/disks.h"
#include "runtime/storage/host_disks.h"

namespace kata::sandbox {

/// Each is one disk of the VM for as long as a container uses it: a device can be opened for
/// writing once. Used on one executor; calls may overlap.
class Volumes {
 public:
  /// `disks` is borrowed and outlives this.
  Volumes(asio::any_io_executor executor, Disks& disks);

  /// Answers what the guest finds the disk by. ResourceExhausted: the VM has no room.
  /// FailedPrecondition: it is to be written to, and a container has it to read only.
  Async<std::string> acquire(storage::HostDisk disk);

  /// Of what was acquired, as often. The last user's completes when QEMU has closed the device.
  Async<void> release(storage::HostDisk disk);

 private:
  /// Major and minor; an image file has none and goes by what it is.
  using Key = std::tuple<uint32_t, uint32_t, storage::ImageId>;
  struct Volume {
    bool read_only = false;
    /// None: the guest has not let it go yet.
    size_t users = 0;
    AttachedDisks attached;
    /// While it comes or goes: set when it is there or has gone.
    std::optional<sys::Event> changing;
  };
  static Key key(const storage::HostDisk& disk) { return {disk.major, disk.minor, disk.image}; }

  Async<void> await_room(Key key);
  Async<void> take_away(Key key);

  asio::any_io_executor executor_;
  Disks& disks_;
  std::map<Key, Volume> volumes_;
};

}  // namespace kata::sandbox
