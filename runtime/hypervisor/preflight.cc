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

Status check_size(const VmConfig& config) {
  if (config.vcpus == 0 || config.memory_mib == 0)
    return fail(Code::kInvalidArgument,
                "a VM needs at least one vCPU and some memory, not {} and {} MiB", config.vcpus,
                config.memory_mib);
  struct sysinfo host {};
  if (::sysinfo(&host) != 0) return fail_errno("sysinfo");
  const uint64_t host_mib = (host.totalram + host.totalswap) / kBytesPerMib * host.mem_unit;
  if (config.memory_mib > host_mib)
    return fail(Code::kResourceExhausted,
                "not enough memory: the VM wants {} MiB, the host has {} MiB: lower default_memory "
                "in [hypervisor.qemu]",
                config.memory_mib, host_mib);
  return {};
}

}  // namespace

Status check_vm_config(const VmConfig& config) {
  KATA_CHECK(check_file("QEMU", config.qemu_path, X_OK,
                        "install it (apt-get install qemu-system-x86) or set path in "
                        "[hypervisor.qemu]"));
  KATA_CHECK(check_file("guest kernel", config.kernel, R_OK,
                        "build the guest image or set kernel in [hypervisor.qemu]"));
  KATA_CHECK(check_file("guest initrd", config.initrd, R_OK,
                        "build the guest image or set initrd in [hypervisor.qemu]"));
  return check_size(config);
}

Code code_of_qemu_output(std::string_view output) {
  // QEMU has no other channel than its text for errors before the monitor answers.
  for (const char* sign : {"cannot set up guest memory", "Cannot allocate memory",
                           "unable to map backing store", "Unable to allocate memory"})
    if (output.find(sign) != std::string_view::npos) return Code::kResourceExhausted;
  return Code::kUnavailable;
}

}  // namespace kata::hypervisor
