#include "runtime/sandbox/disks.h"

#include <algorithm>

#include "common/log/log.h"

namespace kata::sandbox {
namespace {

using hypervisor::kDevicesPerPort;

size_t ports_for(size_t disks) { return (disks + kDevicesPerPort - 1) / kDevicesPerPort; }

}  // namespace

Disks::Disks(hypervisor::Vm& vm, uint32_t first, uint32_t end) : vm_(vm) {
  for (uint32_t port = first; port < end; ++port) free_ports_.insert(port);
}

bool Disks::has_room_for(size_t disks) const { return ports_for(disks) <= free_ports_.size(); }

Async<AttachedDisks> Disks::attach(std::vector<DiskFile> disks) {
  if (!has_room_for(disks.size()))
    co_return fail(Code::kResourceExhausted, "no free root port for {} disks", disks.size());
  std::vector<uint32_t> ports;
  while (ports.size() < ports_for(disks.size()))
    ports.push_back(free_ports_.extract(free_ports_.begin()).value());

  AttachedDisks attached;
  for (size_t i = 0; i < ports.size(); ++i) {
    std::vector<hypervisor::Device> devices;
    const size_t begin = i * kDevicesPerPort;
    for (size_t d = begin; d < std::min(begin + kDevicesPerPort, disks.size()); ++d) {
      // Never one that was used before: the guest may not yet have forgotten its disk.
      hypervisor::Block block;
      block.file = disks[d].file;
      block.read_only = disks[d].read_only;
      block.serial = fmt::format("disk{}", ++last_serial_);
      attached.serials.push_back(block.serial);
      devices.emplace_back(std::move(block));
    }
    // Of several, some may still be there, unseen by the guest: that slot is not used again.
    const size_t first_unused = devices.size() == 1 ? i : i + 1;
    Status added = co_await vm_.attach(std::move(devices), ports[i]);
    if (added) {
      attached.ports.push_back(ports[i]);
      continue;
    }
    for (size_t unused = first_unused; unused < ports.size(); ++unused)
      free_ports_.insert(ports[unused]);
    Status undone = co_await detach(std::move(attached));
    if (!undone) log::error("take disks back", {{"error", undone.error().message()}});
    co_return std::unexpected(added.error());
  }
  co_return attached;
}

Async<void> Disks::detach(AttachedDisks attached) {
  Status first_failure;
  for (const uint32_t port : attached.ports) {
    Status detached = co_await vm_.detach(port);
    if (detached)
      free_ports_.insert(port);
    else if (first_failure)
      first_failure = detached;
  }
  co_return first_failure;
}

}  // namespace kata::sandbox
