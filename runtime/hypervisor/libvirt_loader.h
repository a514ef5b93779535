// The libvirt launcher, from a module that is loaded only when it is configured: the shim itself
// does not carry libvirt and its libraries.
#pragma once

#include <memory>
#include <string>

#include "runtime/hypervisor/hypervisor.h"

namespace kata::hypervisor {

/// `uri` is qemu:///embed or qemu:///system (also with ?socket=<path>). The module
/// libkata-libvirt.so is looked for in $KATA_MODULE_DIR and in
/// {lib,lib/x86_64-linux-gnu,lib64}/kata-containers of the prefix that the executable is installed
/// in. NotFound: no module. FailedPrecondition: it does not load (libvirt0 is missing), or is
/// another build's. libvirt itself is asked at launch only.
Result<std::unique_ptr<Launcher>> load_libvirt_launcher(asio::any_io_executor executor,
                                                        const std::string& uri);

/// Connects to libvirt as a launch would, without a VM, and disconnects. Blocking; takes up to
/// seconds.
Status check_libvirt(const std::string& uri);

}  // namespace kata::hypervisor
