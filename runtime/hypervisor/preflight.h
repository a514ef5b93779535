// What can be known to fail before QEMU is started, as errors that name the remedy.
#pragma once

#include "common/error/error.h"
#include "runtime/hypervisor/hypervisor.h"

namespace kata::hypervisor {

/// All of the checks below. Blocking, but only a few stat(2) calls.
Status check_vm_config(const VmConfig& config);

/// NotFound: it is missing. PermissionDenied: not executable or not readable. InvalidArgument: no
/// regular file.
Status check_qemu_file(const std::filesystem::path& qemu);
Status check_kernel_file(const std::filesystem::path& kernel);
Status check_initrd_file(const std::filesystem::path& initrd);

/// InvalidArgument: a VM of no size. ResourceExhausted: more memory than the host has.
Status check_vm_size(uint32_t vcpus, uint64_t memory_mib);

/// InvalidArgument: so much memory is not a whole number of huge pages. ResourceExhausted: the host
/// has not so many free. NotFound: it has none at all of that size.
Status check_hugepages(uint64_t memory_mib, const std::filesystem::path& sysfs =
                                                "/sys/kernel/mm/hugepages/hugepages-2048kB");

/// What QEMU's last words mean: ResourceExhausted when it could not get its memory, else
/// Unavailable.
Code code_of_qemu_output(std::string_view output);

}  // namespace kata::hypervisor
