// System call filters (runtime-spec 1.2, linux.seccomp), made by libseccomp.
#pragma once

#include <string>
#include <string_view>

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// The filter as bytes for install_filter(), in this process or another one. As with runc: names
/// that libseccomp does not know are left out; a filter whose default is an error, a trap or an end
/// answers calls that are newer than all it names with ENOSYS, so that programs fall back to older
/// ones. InvalidArgument: an architecture or flag that this system has not. Unimplemented:
/// SCMP_ACT_NOTIFY, whose descriptor cannot leave the VM.
Result<std::string> compile_filter(const oci::Seccomp& seccomp);

/// For the calling thread and what it executes, for good. Needs no_new_privs or CAP_SYS_ADMIN.
Status install_filter(std::string_view filter);

}  // namespace kata::isolation
