#include "runtime/sandbox/volumes.h"

#include <utility>

namespace kata::sandbox {

Volumes::Volumes(asio::any_io_executor executor, Disks& disks)
    : executor_(std::move(executor)), disks_(disks) {}

Async<std::string> Volumes::acquire(storage::HostDisk disk) {
  KATA_CO_CHECK(co_await await_room(key(disk)));
  // References into the map outlive what others add to it.
  Volume& volume = volumes_[key(disk)];
  if (volume.users > 0) {
    if (volume.read_only && !disk.read_only)
      co_return fail(Code::kFailedPrecondition,
                     "{}: another container of the pod has it to read only, and it cannot become "
                     "writable while it does",
                     disk.file.native());
    ++volume.users;
    co_return volume.attached.serials.front();
  }
  sys::Event changed(executor_);
  volume.changing = changed;
  std::vector<DiskFile> files = {{.file = disk.file, .read_only = disk.read_only}};
  auto attached = co_await disks_.attach(std::move(files));
  volume.changing.reset();
  if (attached) {
    volume.read_only = disk.read_only;
    volume.users = 1;
    volume.attached = *attached;
  } else {
    volumes_.erase(key(disk));
  }
  changed.set();
  if (!attached) co_return std::unexpected(attached.error().with_stage(disk.file.native()));
  co_return attached->serials.front();
}

/// Until the device is there with users, or not there at all.
Async<void> Volumes::await_room(Key key) {
  while (volumes_.contains(key)) {
    Volume& volume = volumes_.at(key);
    if (volume.changing) {
      const sys::Event changed = *volume.changing;
      co_await changed.wait();
      continue;
    }
    if (volume.users > 0) co_return Status{};
    KATA_CO_CHECK(co_await take_away(key));
  }
  co_return Status{};
}

/// After an error it stays, without users.
Async<void> Volumes::take_away(Key key) {
  Volume& volume = volumes_.at(key);
  sys::Event changed(executor_);
  volume.changing = changed;
  Status detached = co_await disks_.detach(volume.attached);
  volume.changing.reset();
  if (detached) volumes_.erase(key);
  changed.set();
  co_return detached;
}

Async<void> Volumes::release(storage::HostDisk disk) {
  if (--volumes_.at(key(disk)).users > 0) co_return Status{};
  Status detached = co_await take_away(key(disk));
  if (!detached) co_return std::unexpected(detached.error().with_stage(disk.file.native()));
  co_return detached;
}

}  // namespace kata::sandbox
