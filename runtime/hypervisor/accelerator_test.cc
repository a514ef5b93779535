#include "runtime/hypervisor/accelerator.h"

#include <catch2/catch.hpp>

namespace kata::hypervisor {
namespace {

KvmProbes healthy() {
  return {.cpu_flag = [] { return std::string("vmx"); },
          .is_paravirtual = [] { return false; },
          .open_device = [] { return Status{}; },
          .run_vcpu = [] { return Status{}; }};
}

std::string all_findings(const KvmVerdict& verdict) {
  std::string text;
  for (const auto& finding : verdict.findings) text += finding + "\n";
  return text;
}

TEST_CASE("hardware virtualization with a vCPU that runs is KVM") {
  const KvmVerdict verdict = judge_kvm(healthy());
  CHECK(verdict.usable);
  CHECK(verdict.remedy.empty());
  CHECK(choose_accelerator(std::nullopt, healthy()) == Accelerator::kKvm);
  CHECK(choose_accelerator(Accelerator::kKvm, healthy()) == Accelerator::kKvm);
}

TEST_CASE("no vmx or svm is no KVM, whatever /dev/kvm can do") {
  KvmProbes probes = healthy();
  probes.cpu_flag = [] { return std::string(); };
  bool ran = false;
  probes.run_vcpu = [&]() -> Status {
    ran = true;
    return {};
  };
  const KvmVerdict verdict = judge_kvm(probes);
  CHECK_FALSE(verdict.usable);
  CHECK_FALSE(ran);
  CHECK(all_findings(verdict).find("neither vmx nor svm") != std::string::npos);
  CHECK_FALSE(verdict.remedy.empty());
  CHECK(choose_accelerator(std::nullopt, probes) == Accelerator::kTcg);
}

TEST_CASE("a paravirtual /dev/kvm is no KVM") {
  KvmProbes probes = healthy();
  probes.is_paravirtual = [] { return true; };
  const KvmVerdict verdict = judge_kvm(probes);
  CHECK_FALSE(verdict.usable);
  CHECK(all_findings(verdict).find("kvm_pvm") != std::string::npos);
}

TEST_CASE("a device that does not open is no KVM, and the remedy fits") {
  KvmProbes probes = healthy();
  probes.open_device = []() -> Status { return fail(Code::kPermissionDenied, "opening /dev/kvm"); };
  CHECK(judge_kvm(probes).remedy.find("group kvm") != std::string::npos);
  probes.open_device = []() -> Status { return fail(Code::kNotFound, "opening /dev/kvm"); };
  CHECK(judge_kvm(probes).remedy.find("kvm_intel") != std::string::npos);
  CHECK_FALSE(judge_kvm(probes).usable);
}

TEST_CASE("a vCPU that does not run is no KVM") {
  KvmProbes probes = healthy();
  probes.run_vcpu = []() -> Status { return fail(Code::kFailedPrecondition, "exit reason 17"); };
  const KvmVerdict verdict = judge_kvm(probes);
  CHECK_FALSE(verdict.usable);
  CHECK(all_findings(verdict).find("exit reason 17") != std::string::npos);
}

TEST_CASE("wanting KVM where there is none is an error with reason and remedy") {
  KvmProbes probes = healthy();
  probes.cpu_flag = [] { return std::string(); };
  const auto chosen = choose_accelerator(Accelerator::kKvm, probes);
  REQUIRE_FALSE(chosen.has_value());
  CHECK(chosen.error().code() == Code::kFailedPrecondition);
  CHECK(chosen.error().message().find("neither vmx nor svm") != std::string::npos);
  CHECK(chosen.error().message().find("nested virtualization") != std::string::npos);
}

TEST_CASE("wanting TCG asks nothing") {
  CHECK(choose_accelerator(Accelerator::kTcg, KvmProbes{}) == Accelerator::kTcg);
}

}  // namespace
}  // namespace kata::hypervisor
