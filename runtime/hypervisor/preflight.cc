#include "runtime/hypervisor/preflight.h"

#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

namespace kata::hypervisor {
namespace {

constexpr uint64_t kBytesPerMib = 1024 * 1024;

Status check_file(std::string_view what, const std::filesystem::path& path, int access_mode,
                  std::string_view remedy) {
  if (path.empty()) return fail(Code::kNotFound, "no {} is configured: {}", what, remedy);
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    const int error_number = errno;
    return fail(code_from_errno(error_number), "{} '{}': {}: {}", what, path.native(),
                strerrordesc_np(error_number), remedy);
  }
  if (!S_ISREG(info.st_mode))
    return fail(Code::kInvalidArgument, "{} '{}' is not a file: {}", what, path.native(), remedy);
  if (::access(path.c_str(), access_mode) != 0)
    return fail_errno(fmt::format("{} '{}'", what, path.native()));
  return {};
}

}  // namespace

Status check_qemu_file(const std::filesystem::path& qemu) {
  return check_file("QEMU", qemu, X_OK,
                    "install it (apt-get install qemu-system-x86) or set path in "
                    "[hypervisor.qemu]");
}

Status check_kernel_file(const std::filesystem::path& kernel) {
  return check_file("guest kernel", kernel, R_OK,
                    "build the guest image or set kernel in [hypervisor.qemu]");
}

Status check_initrd_file(const std::filesystem::path& initrd) {
  return check_file("guest initrd", initrd, R_OK,
                    "build the guest image or set initrd in [hypervisor.qemu]");
}

Status check_vm_size(uint32_t vcpus, uint64_t memory_mib) {
  if (vcpus == 0 || memory_mib == 0)
    return fail(Code::kInvalidArgument,
                "a VM needs at least one vCPU and some memory, not {} and {} MiB", vcpus,
                memory_mib);
  struct sysinfo host {};
  if (::sysinfo(&host) != 0) return fail_errno("sysinfo");
  const uint64_t host_mib = (host.totalram + host.totalswap) / kBytesPerMib * host.mem_unit;
  if (memory_mib > host_mib)
    return fail(Code::kResourceExhausted,
                "not enough memory: the VM wants {} MiB, the host has {} MiB: lower default_memory "
                "in [hypervisor.qemu]",
                memory_mib, host_mib);
  return {};
}

Status check_vm_config(const VmConfig& config) {
  KATA_CHECK(check_qemu_file(config.qemu_path));
  if (!config.for_restore) {
    KATA_CHECK(check_kernel_file(config.kernel));
    KATA_CHECK(check_initrd_file(config.initrd));
  }
  return check_vm_size(config.vcpus, config.memory_mib);
}

Code code_of_qemu_output(std::string_view output) {
  // QEMU has no other channel than its text for errors before the monitor answers.
  for (const char* sign : {"cannot set up guest memory", "Cannot allocate memory",
                           "unable to map backing store", "Unable to allocate memory"})
    if (output.find(sign) != std::string_view::npos) return Code::kResourceExhausted;
  return Code::kUnavailable;
}

}  // namespace kata::hypervisor
