// Processors and memory of a QEMU that runs: what DirectVm's plug_vcpus(), request_memory() and
// await_memory() are. QEMU's interface: docs/interop/qemu-qmp-ref, "Machines".
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "common/sys/async.h"
#include "runtime/hypervisor/direct_vm.h"

namespace kata::hypervisor {

Async<void> plug_vcpus_of(std::shared_ptr<RunningQemu> running, uint32_t count);
Async<void> request_memory_of(std::shared_ptr<RunningQemu> running, uint64_t mib);
Async<void> await_memory_of(std::shared_ptr<RunningQemu> running, std::chrono::seconds limit);

}  // namespace kata::hypervisor
