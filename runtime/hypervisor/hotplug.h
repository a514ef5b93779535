// Devices that come and go while a DirectVm runs: Vm::attach() and detach() in QMP's words (QEMU:
// docs/interop/qmp-spec, qapi/qdev.json).
#pragma once

#include <memory>
#include <vector>

#include "runtime/hypervisor/direct_vm.h"

namespace kata::hypervisor {

Async<void> attach_at(std::shared_ptr<RunningQemu> running, std::vector<Device> devices,
                      uint32_t port);
Async<void> detach_from(std::shared_ptr<RunningQemu> running, uint32_t port);

}  // namespace kata::hypervisor
