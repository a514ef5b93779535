#include "runtime/hypervisor/direct_vm.h"

#include <csignal>
#include <utility>

#include "common/log/log.h"
#include "runtime/hypervisor/hotplug.h"
#include "runtime/hypervisor/resize.h"

namespace kata::hypervisor {
namespace {

using nlohmann::json;
using RunningPtr = std::shared_ptr<RunningQemu>;

constexpr std::chrono::seconds kMigrationLimit{30};

/// The name under which QEMU keeps a descriptor that came with getfd.
constexpr const char* kStateFdName = "device-state";

std::string text_of(const json& data, const char* key) {
  const auto found = data.find(key);
  return found != data.end() && found->is_string() ? found->get<std::string>() : "";
}

Async<VmEnd> wait_exit_of(RunningPtr running) {
  KATA_CO_TRY(const sys::ExitStatus status, co_await running->process->wait());
  // Its last event may still be in the socket.
  co_await running->qmp->wait_closed();
  co_return VmEnd{.reason = running->describe_end(status), .killed = status.signal == SIGKILL};
}

Async<void> stop_of(RunningPtr running) {
  // Nothing in QEMU needs a goodbye: guest data is in the kernel's page cache or in virtiofsd.
  KATA_CO_CHECK(running->process->kill(SIGKILL));
  KATA_CO_CHECK(co_await running->process->wait());
  co_return Status{};
}

/// Runs `command` (migrate, migrate-incoming) with its stream in `fd`, to its end.
Async<void> migrate(RunningPtr running, std::string command, int fd) {
  // RAM is in a memfd that both sides have: only the rest goes through the stream.
  const json ignore_shared = {{"capability", "x-ignore-shared"}, {"state", true}};
  const json events = {{"capability", "events"}, {"state", true}};
  const json capabilities = {{"capabilities", json::array({ignore_shared, events})}};
  KATA_CO_CHECK(co_await running->qmp->execute("migrate-set-capabilities", capabilities));
  const json name = {{"fdname", kStateFdName}};
  KATA_CO_CHECK(co_await running->qmp->execute_with_fd("getfd", name, fd));
  const json uri = {{"uri", fmt::format("fd:{}", kStateFdName)}};
  KATA_CO_CHECK(co_await running->qmp->execute(command, uri));
  Status ended = co_await running->await_event(running->migration_end.wait(), kMigrationLimit);
  if (!ended) co_return std::unexpected(ended.error().with_stage("QEMU's " + command));
  const std::string end = running->migration_end.value();
  if (end != "completed")
    co_return fail(Code::kFailedPrecondition, "QEMU's {} {}: {}", command, end,
                   running->last_output());
  co_return Status{};
}

Async<void> save_of(RunningPtr running, int device_state_fd) {
  KATA_CO_CHECK(co_await running->qmp->execute("stop"));
  Status saved = co_await migrate(running, "migrate", device_state_fd);
  if (!saved) co_return std::unexpected(saved.error().with_stage("save the VM"));
  co_return Status{};
}

Async<void> restore_of(RunningPtr running, int device_state_fd) {
  Status restored = co_await migrate(running, "migrate-incoming", device_state_fd);
  if (!restored) co_return std::unexpected(restored.error().with_stage("restore the VM"));
  co_return Status{};
}

Async<void> resume_of(RunningPtr running) {
  KATA_CO_CHECK(co_await running->qmp->execute("cont"));
  co_return Status{};
}

}  // namespace

void RunningQemu::handle_event(const std::string& name, const json& data) {
  if (name == "SHUTDOWN") {
    shutdown_reason = text_of(data, "reason");
  } else if (name == "MIGRATION") {
    const std::string status = text_of(data, "status");
    if (status == "completed" || status == "failed" || status == "cancelled")
      migration_end.set(status);
  } else if (name == "DEVICE_DELETED") {
    const auto waiting = detaching.find(text_of(data, "device"));
    if (waiting != detaching.end()) waiting->second.set();
  } else if (name == "MEMORY_DEVICE_SIZE_CHANGE") {
    std::exchange(memory_changed, sys::Event(executor)).set();
  }
}

std::string RunningQemu::last_output() const {
  std::string text = process->output();
  for (size_t at; (at = text.find('\n')) != std::string::npos;) text.replace(at, 1, "; ");
  return text;
}

std::string RunningQemu::describe_end(const sys::ExitStatus& status) const {
  std::string text = sys::describe(status);
  if (shutdown_reason == "guest-reset")
    text += " after the guest reset itself (a kernel panic does)";
  else if (!shutdown_reason.empty())
    text += fmt::format(" after {}", shutdown_reason);
  const std::string output = last_output();
  if (!output.empty()) text += ": " + output;
  return text;
}

DirectVm::DirectVm(std::shared_ptr<RunningQemu> running) : running_(std::move(running)) {
  const auto& process = running_->process->identity();
  identity_.pid = process.pid;
  identity_.pid_start_time = process.start_time;
}

DirectVm::~DirectVm() { (void)running_->process->kill(SIGKILL); }

// The coroutines keep the process's record, not the VM: who waits may be the last to hold it.
Async<VmEnd> DirectVm::wait_exit() { return wait_exit_of(running_); }
Async<void> DirectVm::stop() { return stop_of(running_); }
Async<void> DirectVm::attach(std::vector<Device> devices, uint32_t port) {
  return attach_at(running_, std::move(devices), port);
}
Async<void> DirectVm::detach(uint32_t port) { return detach_from(running_, port); }
Async<void> DirectVm::plug_vcpus(uint32_t count) { return plug_vcpus_of(running_, count); }
Async<void> DirectVm::request_memory(uint64_t mib) { return request_memory_of(running_, mib); }
Async<void> DirectVm::await_memory(std::chrono::seconds limit) {
  return await_memory_of(running_, limit);
}
Async<void> DirectVm::save(int device_state_fd) { return save_of(running_, device_state_fd); }
Async<void> DirectVm::restore(int device_state_fd) { return restore_of(running_, device_state_fd); }
Async<void> DirectVm::resume() { return resume_of(running_); }

}  // namespace kata::hypervisor
