#include "runtime/hypervisor/direct_vm.h"

#include <csignal>

#include "runtime/hypervisor/device_rendering.h"

namespace kata::hypervisor {
namespace {

using nlohmann::json;
using RunningPtr = std::shared_ptr<RunningQemu>;

/// A guest that is busy booting answers an unplug late; one that has died never does.
constexpr std::chrono::seconds kDetachLimit{10};
constexpr std::chrono::seconds kMigrationLimit{30};

/// PCI 3.0, section 3.2.2.3.4.
constexpr size_t kFunctionsPerSlot = 8;

/// Names under which QEMU keeps descriptors that came with getfd.
constexpr const char* kStateFdName = "device-state";
constexpr const char* kVhostFdName = "vhost";

std::string one_line(std::string text) {
  for (size_t at; (at = text.find('\n')) != std::string::npos;) text.replace(at, 1, "; ");
  return text;
}

std::string text_of(const json& data, const char* key) {
  const auto found = data.find(key);
  return found != data.end() && found->is_string() ? found->get<std::string>() : "";
}

Async<std::string> wait_exit_of(RunningPtr running) {
  KATA_CO_TRY(const sys::ExitStatus status, co_await running->process->wait());
  // Its last event may still be in the socket.
  co_await running->qmp->wait_closed();
  co_return running->describe_end(status);
}

Async<void> stop_of(RunningPtr running) {
  // Nothing in QEMU needs a goodbye: guest data is in the kernel's page cache or in virtiofsd.
  KATA_CO_CHECK(running->process->kill(SIGKILL));
  KATA_CO_CHECK(co_await running->process->wait());
  co_return Status{};
}

/// device_add with what the device needs before; `rendered` is at its place.
Async<void> add_device(RunningPtr running, RenderedDevice rendered) {
  if (!rendered.chardev_id.empty()) {
    json address = {{"type", "unix"}, {"data", {{"path", rendered.chardev_socket}}}};
    json backend = {{"type", "socket"}, {"data", {{"addr", address}, {"server", false}}}};
    json chardev = {{"id", rendered.chardev_id}, {"backend", backend}};
    KATA_CO_CHECK(co_await running->qmp->execute("chardev-add", chardev));
  }
  KATA_CO_CHECK(co_await running->qmp->execute("device_add", rendered.device));
  co_return Status{};
}

/// The `function`-th of `count` devices that share a slot.
Async<void> attach_function(RunningPtr running, Device device, uint32_t port, size_t function,
                            size_t count) {
  if (const auto* vsock = std::get_if<KernelVsock>(&device)) {
    const json name = {{"fdname", kVhostFdName}};
    KATA_CO_CHECK(co_await running->qmp->execute_with_fd("getfd", name, vsock->vhost_fd));
  }
  const std::string id = function == 0 ? device_id(port) : function_id(port, function);
  KATA_CO_TRY(RenderedDevice rendered, render_device(device, id, kVhostFdName));
  rendered.device["bus"] = root_port_id(port);
  rendered.device["addr"] = fmt::format("0.{}", function);
  if (function == 0 && count > 1) rendered.device["multifunction"] = true;
  Status added = co_await add_device(running, rendered);
  if (!added) co_return std::unexpected(added.error().with_stage("attach " + id));
  co_return Status{};
}

Async<void> attach_to(RunningPtr running, std::vector<Device> devices, uint32_t port) {
  if (devices.empty() || devices.size() > kFunctionsPerSlot)
    co_return fail(Code::kInvalidArgument, "{} devices for one slot, it takes 1 to {}",
                   devices.size(), kFunctionsPerSlot);
  // QEMU tells the guest when function 0 comes: it is the last.
  for (size_t function = devices.size(); function-- > 0;)
    KATA_CO_CHECK(
        co_await attach_function(running, devices[function], port, function, devices.size()));
  co_return Status{};
}

Async<void> detach_from(RunningPtr running, uint32_t port) {
  const std::string id = device_id(port);
  const auto waiting = running->detaching.try_emplace(id, running->executor).first;
  const sys::Event gone = waiting->second;
  const json device = {{"id", id}};
  auto asked = co_await running->qmp->execute("device_del", device);
  bool let_go = false;
  if (asked) {
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer deadline(running->executor, kDetachLimit);
    const auto first = co_await (gone.wait() || running->qmp->wait_closed() ||
                                 deadline.async_wait(asio::use_awaitable));
    let_go = first.index() == 0;
  }
  running->detaching.erase(id);
  if (!asked) co_return std::unexpected(asked.error().with_stage("detach " + id));
  if (!let_go)
    co_return fail(Code::kDeadlineExceeded, "detach {}: the guest has kept it for {} s", id,
                   kDetachLimit.count());
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
  using namespace asio::experimental::awaitable_operators;
  asio::steady_timer deadline(running->executor, kMigrationLimit);
  co_await (running->migration_end.wait() || running->qmp->wait_closed() ||
            deadline.async_wait(asio::use_awaitable));
  if (!running->migration_end.is_set())
    co_return fail(Code::kUnavailable, "QEMU has not ended a {}: {}", command,
                   one_line(running->process->output()));
  const std::string end = running->migration_end.value();
  if (end != "completed")
    co_return fail(Code::kFailedPrecondition, "QEMU's {} {}: {}", command, end,
                   one_line(running->process->output()));
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
  }
}

std::string RunningQemu::describe_end(const sys::ExitStatus& status) const {
  std::string text = sys::describe(status);
  if (shutdown_reason == "guest-reset")
    text += " after the guest reset itself (a kernel panic does)";
  else if (!shutdown_reason.empty())
    text += fmt::format(" after {}", shutdown_reason);
  const std::string output = one_line(process->output());
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
Async<std::string> DirectVm::wait_exit() { return wait_exit_of(running_); }
Async<void> DirectVm::stop() { return stop_of(running_); }
Async<void> DirectVm::attach(std::vector<Device> devices, uint32_t port) {
  return attach_to(running_, std::move(devices), port);
}
Async<void> DirectVm::detach(uint32_t port) { return detach_from(running_, port); }
Async<void> DirectVm::save(int device_state_fd) { return save_of(running_, device_state_fd); }
Async<void> DirectVm::restore(int device_state_fd) { return restore_of(running_, device_state_fd); }
Async<void> DirectVm::resume() { return resume_of(running_); }

}  // namespace kata::hypervisor
