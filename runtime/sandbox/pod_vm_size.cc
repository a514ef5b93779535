// The part of PodVm that is about its size: what it boots with, and what changes while it runs.
#include <algorithm>
#include <utility>

#include "common/log/log.h"
#include "runtime/hypervisor/command_line.h"
#include "runtime/sandbox/pod_vm.h"

namespace kata::sandbox {
namespace {

using hypervisor::kHotMemoryBlockMib;
using hypervisor::VmConfig;

/// Memory comes in moments. It goes when the guest has moved what lies in it, or swapped it out, or
/// not at all.
constexpr std::chrono::seconds kMemoryLimit{30};

}  // namespace

/// What a VM that runs can still become.
void PodVm::leave_room(VmConfig& vm) const {
  const VmSize largest = largest_vm(options_.config.hypervisor, parts_.host);
  vm.max_vcpus = std::max(vm.vcpus, largest.vcpus);
  const uint64_t rest = largest.memory_mib > vm.memory_mib ? largest.memory_mib - vm.memory_mib : 0;
  const uint64_t hot = std::min(rest, most_hot_memory_mib(vm.memory_mib));
  vm.max_memory_mib = vm.memory_mib + hot / kHotMemoryBlockMib * kHotMemoryBlockMib;
}

VmSize PodVm::size_wanted(const VmWanted& wanted) const {
  const config::Hypervisor& config = options_.config.hypervisor;
  return vm_size(config, wanted.demand, largest_vm(config, parts_.host));
}

/// Of a VM that boots for its pod alone.
void PodVm::size_for(VmConfig& vm, const VmWanted& wanted) {
  const VmSize size = size_wanted(wanted);
  vm.vcpus = size.vcpus;
  vm.memory_mib = size.memory_mib;
  // Only VMs that are ours alone can be changed.
  if (wanted.resizable && options_.config.hypervisor.launcher == config::LauncherChoice::kDirect)
    leave_room(vm);
  else
    vm.max_memory_mib = vm.max_vcpus = 0;
  has_hot_memory_ = vm.max_memory_mib > vm.memory_mib;
}

/// After the launch: what it has, and whether that can change.
void PodVm::note_size(const VmConfig& vm) {
  plugged_vcpus_ = vm.vcpus;
  booted_ = size_ = {.vcpus = vm.vcpus, .memory_mib = vm.memory_mib};
  most_ = {.vcpus = std::max(vm.vcpus, vm.max_vcpus),
           .memory_mib = has_hot_memory_ ? vm.max_memory_mib : vm.memory_mib};
}

VmSize PodVm::size_of(const Demand& demand) const {
  VmSize size = vm_size(options_.config.hypervisor, demand,
                        largest_vm(options_.config.hypervisor, parts_.host));
  size.vcpus = std::clamp(size.vcpus, booted_.vcpus, most_.vcpus);
  size.memory_mib = std::max(size.memory_mib, booted_.memory_mib);
  return size;
}

Status PodVm::check_room(const Demand& demand) const {
  if (!is_resizable() || size_of(demand).memory_mib <= most_.memory_mib) return {};
  return fail(
      Code::kResourceExhausted,
      "the pod's limits are {} MiB of memory now, and its VM, which has booted with {} MiB, "
      "cannot grow beyond {} MiB: start the pod anew with these limits, or raise "
      "default_memory in [hypervisor.qemu]",
      demand.memory_mib, booted_.memory_mib, most_.memory_mib);
}

Async<void> PodVm::resize(Demand demand) { return resize_to(demand, /*only_up=*/false); }
Async<void> PodVm::grow(Demand demand) { return resize_to(demand, /*only_up=*/true); }

Async<void> PodVm::resize_to(Demand demand, bool only_up) {
  auto self = shared_from_this();
  while (resize_) {
    sys::Promise<bool> other = *resize_;
    co_await other.wait();
  }
  if (!is_resizable()) co_return Status{};
  VmSize wanted = size_of(demand);
  wanted.memory_mib = std::min(wanted.memory_mib, most_.memory_mib);
  if (only_up)
    wanted = {.vcpus = std::max(wanted.vcpus, size_.vcpus),
              .memory_mib = std::max(wanted.memory_mib, size_.memory_mib)};
  if (wanted == size_) co_return Status{};
  sys::Promise<bool> resize(executor_);
  resize_ = resize;
  Status resized = co_await change_size(wanted);
  resize_.reset();
  resize.set(true);
  if (!resized) co_return std::unexpected(resized.error().with_stage("size of the VM"));
  log::info("size of the VM", {{"vcpus", std::to_string(size_.vcpus)},
                               {"memory_mib", std::to_string(size_.memory_mib)}});
  co_return Status{};
}

Async<void> PodVm::change_size(VmSize wanted) {
  if (wanted.vcpus > plugged_vcpus_) {
    KATA_CO_CHECK(co_await vm_->plug_vcpus(wanted.vcpus));
    plugged_vcpus_ = wanted.vcpus;
  }
  KATA_CO_CHECK(co_await agent_->resize_guest(wanted.vcpus, has_hot_memory_));
  size_.vcpus = wanted.vcpus;
  if (wanted.memory_mib != size_.memory_mib) {
    KATA_CO_CHECK(co_await vm_->request_memory(wanted.memory_mib - booted_.memory_mib));
    size_.memory_mib = wanted.memory_mib;
  }
  co_return Status{};
}

Async<void> PodVm::await_memory() {
  auto self = shared_from_this();
  if (!has_hot_memory_) co_return Status{};
  Status has_it = co_await vm_->await_memory(kMemoryLimit);
  if (!has_it) co_return std::unexpected(has_it.error().with_stage("size of the VM"));
  co_return Status{};
}

}  // namespace kata::sandbox
