// The direct launcher: QEMU as a child process with its monitor on an inherited socket. The
// default.
#pragma once

#include <memory>

#include "runtime/hypervisor/hypervisor.h"

namespace kata::hypervisor {

/// launch() must run on a thread that lives as long as the VM shall: QEMU is killed by the kernel
/// when that thread ends (common/sys/subprocess.h).
Result<std::unique_ptr<Launcher>> make_direct_launcher(asio::any_io_executor executor);

}  // namespace kata::hypervisor
