// A vCPU that really runs: the only proof that KVM works (Documentation/virt/kvm/api.rst).
#pragma once

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::hypervisor {

/// Opens /dev/kvm and checks KVM_GET_API_VERSION. NotFound, PermissionDenied as open(2) says;
/// FailedPrecondition: another API version.
Result<UniqueFd> open_kvm();

/// Runs "mov ax, 42; hlt" in real mode on a new vCPU. Takes about a millisecond.
Status run_kvm_vcpu();

}  // namespace kata::hypervisor
