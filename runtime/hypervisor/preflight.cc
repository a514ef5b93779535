#include "runtime/hypervisor/preflight.h"

#include <algorithm>

#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "common/sys/file.h"

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

Result<uint64_t> read_count(const std::filesystem::path& file) {
  auto count = sys::read_number<uint64_t>(file);
  return count ? count : std::unexpected(count.error().with_stage("enable_hugepages"));
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

Status check_hugepages(uint64_t memory_mib, const std::filesystem::path& sysfs) {
  if (memory_mib % kHotMemoryBlockMib != 0)
    return fail(Code::kInvalidArgument,
                "enable_hugepages: {} MiB are no whole number of pages of {} MiB: change "
                "default_memory in [hypervisor.qemu]",
                memory_mib, kHotMemoryBlockMib);
  KATA_TRY(const uint64_t free, read_count(sysfs / "free_hugepages"));
  // Promised to others who have not used them yet.
  KATA_TRY(const uint64_t reserved, read_count(sysfs / "resv_hugepages"));
  const uint64_t wanted = memory_mib / kHotMemoryBlockMib;
  if (free >= reserved && free - reserved >= wanted) return {};
  return fail(Code::kResourceExhausted,
              "enable_hugepages: the VM wants {} huge pages of {} MiB, the host has {} free: raise "
              "{}, or lower default_memory in [hypervisor.qemu]",
              wanted, kHotMemoryBlockMib, free - std::min(free, reserved),
              (sysfs / "nr_hugepages").native());
}

Status check_vm_config(const VmConfig& config) {
  KATA_CHECK(check_qemu_file(config.qemu_path));
  if (!config.for_restore) {
    KATA_CHECK(check_kernel_file(config.kernel));
    KATA_CHECK(check_initrd_file(config.initrd));
  }
  KATA_CHECK(check_vm_size(config.vcpus, config.memory_mib));
  return config.hugepages ? check_hugepages(config.memory_mib) : Status{};
}

Code code_of_qemu_output(std::string_view output) {
  // QEMU has no other channel than its text for errors before the monitor answers.
  for (const char* sign : {"cannot set up guest memory", "Cannot allocate memory",
                           "unable to map backing store", "Unable to allocate memory"})
    if (output.find(sign) != std::string_view::npos) return Code::kResourceExhausted;
  return Code::kUnavailable;
}

}  // namespace kata::hypervisor
