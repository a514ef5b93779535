#include "runtime/hypervisor/accelerator.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/ranges.h>

#include "common/log/log.h"
#include "runtime/hypervisor/kvm_probe.h"

namespace kata::hypervisor {
namespace {

std::string virtualization_flag() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line);
    for (std::string word; words >> word;)
      if (word == "vmx" || word == "svm") return word;
    return {};
  }
  return {};
}

}  // namespace

KvmProbes host_probes() {
  return {.cpu_flag = virtualization_flag,
          .is_paravirtual =
              [] {
                std::error_code error;
                return std::filesystem::exists("/sys/module/kvm_pvm", error);
              },
          .open_device = []() -> Status {
            KATA_CHECK(open_kvm());
            return {};
          },
          .run_vcpu = run_kvm_vcpu};
}

KvmVerdict judge_kvm(const KvmProbes& probes) {
  KvmVerdict verdict;
  const auto found = [&](std::string text) { verdict.findings.push_back(std::move(text)); };
  const auto refuse = [&](std::string remedy) {
    if (verdict.remedy.empty()) verdict.remedy = std::move(remedy);
  };

  const std::string flag = probes.cpu_flag();
  if (flag.empty()) {
    found("the CPU shows neither vmx nor svm: no hardware virtualization");
    refuse("enable virtualization in the firmware, or nested virtualization for this machine");
  } else {
    found(fmt::format("the CPU has hardware virtualization ({})", flag));
  }
  const bool paravirtual = probes.is_paravirtual();
  if (paravirtual) {
    found("/dev/kvm is paravirtual (module kvm_pvm), which does not boot a stock kernel");
    refuse("use a host with kvm_intel or kvm_amd");
  }
  const Status device = probes.open_device();
  if (!device) {
    found(device.error().message());
    refuse(device.error().code() == Code::kPermissionDenied
               ? "let this user open /dev/kvm (group kvm)"
               : "load kvm_intel or kvm_amd");
  } else {
    found("/dev/kvm opens");
  }
  if (flag.empty() || paravirtual || !device) return verdict;

  const Status ran = probes.run_vcpu();
  if (!ran) {
    found(fmt::format("a virtual CPU does not run: {}", ran.error().message()));
    refuse("look at the kernel's log for messages of kvm");
    return verdict;
  }
  found("a virtual CPU runs");
  verdict.usable = true;
  return verdict;
}

Result<Accelerator> choose_accelerator(std::optional<Accelerator> wanted, const KvmProbes& probes) {
  if (wanted == Accelerator::kTcg) return Accelerator::kTcg;
  const KvmVerdict verdict = judge_kvm(probes);
  if (verdict.usable) return Accelerator::kKvm;
  const std::string reasons = fmt::format("{}", fmt::join(verdict.findings, "; "));
  if (wanted == Accelerator::kKvm)
    return fail(Code::kFailedPrecondition,
                "accel is 'kvm', but KVM cannot be used: {}: {}, or set accel to 'auto'", reasons,
                verdict.remedy);
  log::warning("no KVM: the VM is emulated (TCG), which is slower", {{"reasons", reasons}});
  return Accelerator::kTcg;
}

}  // namespace kata::hypervisor
