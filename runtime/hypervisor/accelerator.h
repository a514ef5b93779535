// KVM or emulation, by evidence. An openable /dev/kvm proves little: a paravirtual PVM host (module
// kvm_pvm, no vmx or svm) creates VMs and vCPUs, yet a stock guest kernel never finishes its boot.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/error/error.h"
#include "runtime/hypervisor/hypervisor.h"

namespace kata::hypervisor {

/// What is asked of the host; tests put their own answers here.
struct KvmProbes {
  /// "vmx" or "svm" when /proc/cpuinfo shows it, else empty.
  std::function<std::string()> cpu_flag;
  /// Whether the paravirtual module kvm_pvm serves /dev/kvm.
  std::function<bool()> is_paravirtual;
  /// Opens /dev/kvm and checks its API version.
  std::function<Status()> open_device;
  /// Creates a VM with one vCPU and runs a few instructions of real mode to HLT. Only asked when
  /// all else is well.
  std::function<Status()> run_vcpu;
};

KvmProbes host_probes();

struct KvmVerdict {
  bool usable = false;
  /// What was found, in the order it was looked at, each one sentence.
  std::vector<std::string> findings;
  /// Of a KVM that is not usable: what would make it so.
  std::string remedy;
};

KvmVerdict judge_kvm(const KvmProbes& probes);

/// `wanted` empty: KVM where it is usable, else TCG with one warning in the log that says why.
/// FailedPrecondition: KVM is wanted and not usable.
Result<Accelerator> choose_accelerator(std::optional<Accelerator> wanted,
                                       const KvmProbes& probes = host_probes());

}  // namespace kata::hypervisor
