// The libvirt launcher: domain XML, driven through a LibvirtDriver on a worker thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/hypervisor/hypervisor.h"
#include "runtime/hypervisor/libvirt/driver.h"

namespace kata::hypervisor {

/// Opens a connection; blocking.
using LibvirtOpener = std::function<Result<std::unique_ptr<LibvirtDriver>>(const std::string& uri)>;

/// `uri` is qemu:///system (with or without ?socket=…), or qemu:///embed: each VM then has a driver
/// of its own in <run_dir>/lv. Connections are opened at launch, and closed with the Vm.
std::unique_ptr<Launcher> make_libvirt_launcher(asio::any_io_executor executor, LibvirtOpener open,
                                                const std::string& uri);

/// Opens `uri` and closes it; for qemu:///embed with a root that is removed again.
Status try_libvirt(const LibvirtOpener& open, const std::string& uri);

}  // namespace kata::hypervisor
