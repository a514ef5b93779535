// The part of KataSandbox that runs a container's hooks on the host; see hooks.h.
#include "runtime/sandbox/kata_sandbox.h"

namespace kata::sandbox {

/// What the pid is of, here and as a task's: the VM's QEMU. It lives in the pod's network
/// namespace, where hooks that set up a container's network expect a container's process.
HookCall KataSandbox::hook_call(const Container& container, std::string kind,
                                std::string_view status) const {
  HookCall call;
  call.kind = std::move(kind);
  call.state.id = container.id;
  call.state.status = status;
  if (status != oci::kStopped) call.state.pid = static_cast<pid_t>(vm_pid_);
  call.state.bundle = container.bundle;
  call.state.annotations = container.annotations;
  return call;
}

Async<void> KataSandbox::run_create_hooks(ContainerPtr container) {
  KATA_CO_CHECK(check_not_stopping());
  if (!container->hooks.poststop.empty()) KATA_CO_CHECK(note_poststop(container->bundle));
  HookCall prestart = hook_call(*container, "prestart", oci::kCreating);
  prestart.hooks = container->hooks.prestart;
  KATA_CO_CHECK(co_await hooks_.run(std::move(prestart)));
  HookCall create_runtime = hook_call(*container, "createRuntime", oci::kCreating);
  create_runtime.hooks = container->hooks.create_runtime;
  co_return co_await hooks_.run(std::move(create_runtime));
}

asio::awaitable<void> KataSandbox::run_poststart_hooks(ProcessPtr init) {
  auto found = containers_.find(init->container_id);
  if (found == containers_.end()) co_return;
  const Container& container = *found->second;
  const bool ended = init->exited.is_set();
  HookCall call = hook_call(container, "poststart", ended ? oci::kStopped : oci::kRunning);
  call.hooks = container.hooks.poststart;
  co_await hooks_.run_and_log(std::move(call));
}

/// Once, whoever removes the container: this shim, or a `delete` that finds it gone.
asio::awaitable<void> KataSandbox::run_poststop_hooks(ContainerPtr container) {
  if (container->hooks.poststop.empty() || !claim_poststop(container->bundle)) co_return;
  HookCall call = hook_call(*container, "poststop", oci::kStopped);
  call.hooks = container->hooks.poststop;
  co_await last_hooks_.run_and_log(std::move(call));
}

}  // namespace kata::sandbox
