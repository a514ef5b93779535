#include "runtime/sandbox/volumes.h"

#include <utility>

namespace kata::sandbox {

Volumes::Volumes(asio::any_io_executor executor, Disks& disks)
    : executor_(std::move(executor)), disks_(disks) {}

Async<std::string> Volumes::acquire(storage::HostDisk disk) {
  while (volumes_.contains(key(disk))) {
    Volume& volume = volumes_.at(key(disk));
    if (!volume.changing) {
      ++volume.users;
      co_return volume.attached.serials.front();
    }
    const sys::Event changed = *volume.changing;
    co_await changed.wait();
  }
  // References into the map outlive what others add to it.
  Volume& volume = volumes_[key(disk)];
  sys::Event changed(executor_);
  volume.changing = changed;
  std::vector<DiskFile> files = {{.file = disk.file, .read_only = disk.read_only}};
  auto attached = co_await disks_.attach(std::move(files));
  volume.changing.reset();
  if (attached) {
    volume.users = 1;
    volume.attached = *attached;
  } else {
    volumes_.erase(key(disk));
  }
  changed.set();
  if (!attached) co_return std::unexpected(attached.error().with_stage(disk.file.native()));
  co_return attached->serials.front();
}

Async<void> Volumes::release(storage::HostDisk disk) {
  Volume& volume = volumes_.at(key(disk));
  if (--volume.users > 0) co_return Status{};
  sys::Event changed(executor_);
  volume.changing = changed;
  Status detached = co_await disks_.detach(std::move(volume.attached));
  volumes_.erase(key(disk));
  changed.set();
  if (!detached) co_return std::unexpected(detached.error().with_stage(disk.file.native()));
  co_return detached;
}

}  // namespace kata::sandbox
