#include "runtime/hypervisor/kvm_probe.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

namespace kata::hypervisor {
namespace {

constexpr uint64_t kGuestPageBytes = 4096;
constexpr uint64_t kCodeAddress = 0x1000;
/// Three pages that Intel CPUs without unrestricted guests need for their real mode; any hole will
/// do.
constexpr unsigned long kTssAddress = 0xfffbd000;
constexpr uint64_t kExpectedResult = 42;
/// mov ax, 42; hlt
constexpr std::array<uint8_t, 4> kCode = {0xb8, kExpectedResult, 0x00, 0xf4};
/// Bit 1 of RFLAGS is always set.
constexpr uint64_t kInitialFlags = 2;

/// mmap(2)ed memory.
class Mapping {
 public:
  Mapping(size_t bytes, int flags, int fd)
      : address_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0)), bytes_(bytes) {}
  ~Mapping() {
    if (valid()) ::munmap(address_, bytes_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  bool valid() const { return address_ != MAP_FAILED; }
  void* address() const { return address_; }

 private:
  void* address_;
  size_t bytes_;
};

Status place_code(int vm, const Mapping& memory) {
  std::memcpy(memory.address(), kCode.data(), kCode.size());
  kvm_userspace_memory_region region{};
  region.guest_phys_addr = kCodeAddress;
  region.memory_size = kGuestPageBytes;
  region.userspace_addr = reinterpret_cast<uint64_t>(memory.address());
  if (::ioctl(vm, KVM_SET_TSS_ADDR, kTssAddress) != 0) return fail_errno("KVM_SET_TSS_ADDR");
  if (::ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) != 0)
    return fail_errno("KVM_SET_USER_MEMORY_REGION");
  return {};
}

Status set_registers(int vcpu) {
  kvm_sregs segments{};
  if (::ioctl(vcpu, KVM_GET_SREGS, &segments) != 0) return fail_errno("KVM_GET_SREGS");
  segments.cs.base = 0;
  segments.cs.selector = 0;
  if (::ioctl(vcpu, KVM_SET_SREGS, &segments) != 0) return fail_errno("KVM_SET_SREGS");
  kvm_regs registers{};
  registers.rip = kCodeAddress;
  registers.rflags = kInitialFlags;
  if (::ioctl(vcpu, KVM_SET_REGS, &registers) != 0) return fail_errno("KVM_SET_REGS");
  return {};
}

Status run_to_halt(int vcpu, const kvm_run& run) {
  int outcome;
  do {
    outcome = ::ioctl(vcpu, KVM_RUN, 0);
  } while (outcome != 0 && errno == EINTR);
  if (outcome != 0) return fail_errno("KVM_RUN");
  if (run.exit_reason != KVM_EXIT_HLT)
    return fail(Code::kFailedPrecondition, "a vCPU left with exit reason {} instead of HLT",
                run.exit_reason);
  kvm_regs registers{};
  if (::ioctl(vcpu, KVM_GET_REGS, &registers) != 0) return fail_errno("KVM_GET_REGS");
  if ((registers.rax & 0xffff) != kExpectedResult)
    return fail(Code::kFailedPrecondition, "a vCPU computed {} instead of {}", registers.rax,
                kExpectedResult);
  return {};
}

}  // namespace

Result<UniqueFd> open_kvm() {
  UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm) return fail_errno("opening /dev/kvm");
  const int version = ::ioctl(kvm.get(), KVM_GET_API_VERSION, 0);
  if (version != KVM_API_VERSION)
    return fail(Code::kFailedPrecondition, "/dev/kvm has API version {} instead of {}", version,
                KVM_API_VERSION);
  return kvm;
}

Status run_kvm_vcpu() {
  KATA_TRY(const UniqueFd kvm, open_kvm());
  const UniqueFd vm(::ioctl(kvm.get(), KVM_CREATE_VM, 0));
  if (!vm) return fail_errno("KVM_CREATE_VM");
  const Mapping memory(kGuestPageBytes, MAP_SHARED | MAP_ANONYMOUS, -1);
  if (!memory.valid()) return fail_errno("mapping the probe's memory");
  KATA_CHECK(place_code(vm.get(), memory));
  const UniqueFd vcpu(::ioctl(vm.get(), KVM_CREATE_VCPU, 0));
  if (!vcpu) return fail_errno("KVM_CREATE_VCPU");
  const int run_bytes = ::ioctl(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_bytes < static_cast<int>(sizeof(kvm_run))) return fail_errno("KVM_GET_VCPU_MMAP_SIZE");
  const Mapping run(static_cast<size_t>(run_bytes), MAP_SHARED, vcpu.get());
  if (!run.valid()) return fail_errno("mapping the vCPU");
  KATA_CHECK(set_registers(vcpu.get()));
  return run_to_halt(vcpu.get(), *static_cast<const kvm_run*>(run.address()));
}

}  // namespace kata::hypervisor
