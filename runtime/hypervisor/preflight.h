// What can be known to fail before QEMU is started, as errors that name the remedy.
#pragma once

#include "common/error/error.h"
#include "runtime/hypervisor/hypervisor.h"

namespace kata::hypervisor {

/// NotFound: QEMU, kernel or initrd is missing. PermissionDenied: not readable or executable.
/// InvalidArgument: not regular files, or a VM of no size. ResourceExhausted: more memory than the
/// host has. Blocking, but only a few stat(2) calls.
Status check_vm_config(const VmConfig& config);

/// What QEMU's last words mean: ResourceExhausted when it could not get its memory, else
/// Unavailable.
Code code_of_qemu_output(std::string_view output);

}  // namespace kata::hypervisor
