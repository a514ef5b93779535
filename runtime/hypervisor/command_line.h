// A VmConfig as QEMU's argument vector: a pure function, so that every argument has a unit test.
// QEMU 7.2 is the floor (docs: https://www.qemu.org/docs/master/system/invocation.html).
#pragma once

#include <string>
#include <vector>

#include "common/error/error.h"
#include "runtime/hypervisor/hypervisor.h"

namespace kata::hypervisor {

struct CommandLine {
  /// argv[1] and on.
  std::vector<std::string> arguments;
  /// Descriptors for QEMU, borrowed: the i-th must become sys::kFirstPassedFd + i.
  std::vector<int> fds;
};

/// `qmp_fd` is QEMU's end of the monitor's socket pair.
Result<CommandLine> render_command_line(const VmConfig& config, int qmp_fd);

/// What every guest kernel of ours is told; the caller appends its own parameters. The guest's
/// panic resets the machine at once, which ends QEMU with the panic's text on the console.
std::string base_kernel_command_line(const VmConfig& config);

}  // namespace kata::hypervisor
