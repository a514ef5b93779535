// QEMU processes found by what stands in their arguments: for VMs whose parent is not ours
// (libvirt's), and for those that nobody wrote down before the shim died.
#pragma once

#include <chrono>
#include <filesystem>
#include <string_view>
#include <vector>

#include "common/error/error.h"
#include "common/sys/pidfd.h"

namespace kata::hypervisor {

/// Processes of this user one of whose arguments contains `text`, and whose first argument is QEMU.
std::vector<sys::ProcessIdentity> find_qemu_processes(std::string_view text);

/// Ends (SIGKILL) every QEMU that has a socket in `run_dir`, and waits for their end. For `delete`:
/// it also finds a VM that was started in the moment before the shim was killed. DeadlineExceeded.
Status end_stray_vms(const std::filesystem::path& run_dir, std::chrono::milliseconds timeout);

}  // namespace kata::hypervisor
