#include "runtime/hypervisor/hypervisor.h"

namespace kata::hypervisor {
namespace {

std::unexpected<Error> cannot(std::string_view what) {
  return fail(Code::kUnimplemented, "{}: only with launcher = \"direct\"", what);
}

}  // namespace

Async<void> Vm::attach(std::vector<Device>, uint32_t) {
  co_return cannot("attach a device to a running VM");
}
Async<void> Vm::detach(uint32_t) { co_return cannot("detach a device of a running VM"); }
Async<void> Vm::plug_vcpus(uint32_t) { co_return cannot("change a VM's processors"); }
Async<void> Vm::request_memory(uint64_t) { co_return cannot("change a VM's memory"); }
Async<void> Vm::await_memory(std::chrono::seconds) { co_return cannot("change a VM's memory"); }
Async<void> Vm::save(int) { co_return cannot("save a VM"); }
Async<void> Vm::restore(int) { co_return cannot("restore a VM"); }
Async<void> Vm::resume() { co_return cannot("resume a VM"); }

}  // namespace kata::hypervisor
