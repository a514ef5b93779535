// The libvirt launcher, from a module that is loaded only when it is configured: the shim itself
// does not carry libvirt and its libraries.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "runtime/hypervisor/hypervisor.h"

namespace kata::hypervisor {

/// `uri` is qemu:///embed or qemu:///system; `state_root` is where the launcher may keep an
/// embedded driver's files (see VmConfig::run_dir). The module libkata-libvirt.so is looked for in
/// $KATA_MODULE_DIR, <prefix>/lib/kata-containers and <prefix>/lib/<multiarch>/kata-containers.
/// NotFound: no module. FailedPrecondition: it does not load (libvirt0 is missing), or is another
/// version's.
Result<std::unique_ptr<Launcher>> load_libvirt_launcher(asio::any_io_executor executor,
                                                        const std::string& uri,
                                                        const std::filesystem::path& state_root);

}  // namespace kata::hypervisor
