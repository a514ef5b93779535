#include "runtime/hypervisor/hotplug.h"

#include "common/log/log.h"
#include "runtime/hypervisor/device_rendering.h"

namespace kata::hypervisor {
namespace {

using nlohmann::json;
using RunningPtr = std::shared_ptr<RunningQemu>;

/// A guest that is busy booting answers an unplug late; one that has died never does.
constexpr std::chrono::seconds kDetachLimit{10};

/// A device as one function of a slot, and the descriptors that QEMU has to have before it.
struct Function {
  RenderedDevice rendered;
  std::vector<std::pair<std::string, int>> fds;
};

/// What a device needs before it: its connection to a back end, its file, its tap.
Async<void> add_backend(RunningPtr running, Function function) {
  const RenderedDevice& rendered = function.rendered;
  for (const auto& [name, fd] : function.fds) {
    const json names = {{"fdname", name}};
    KATA_CO_CHECK(co_await running->qmp->execute_with_fd("getfd", names, fd));
  }
  if (!rendered.object.is_null())
    KATA_CO_CHECK(co_await running->qmp->execute("object-add", rendered.object));
  if (!rendered.chardev_id.empty()) {
    json address = {{"type", "unix"}, {"data", {{"path", rendered.chardev_socket}}}};
    json backend = {{"type", "socket"}, {"data", {{"addr", address}, {"server", false}}}};
    json chardev = {{"id", rendered.chardev_id}, {"backend", backend}};
    KATA_CO_CHECK(co_await running->qmp->execute("chardev-add", chardev));
  }
  if (!rendered.blockdev.is_null())
    KATA_CO_CHECK(co_await running->qmp->execute("blockdev-add", rendered.blockdev));
  if (!rendered.netdev.is_null())
    KATA_CO_CHECK(co_await running->qmp->execute("netdev_add", rendered.netdev));
  co_return Status{};
}

Async<void> remove_node(RunningPtr running, std::string name) {
  const json node = {{"node-name", name}};
  KATA_CO_CHECK(co_await running->qmp->execute("blockdev-del", node));
  co_return Status{};
}

Async<void> remove_netdev(RunningPtr running, std::string id) {
  const json netdev = {{"id", id}};
  KATA_CO_CHECK(co_await running->qmp->execute("netdev_del", netdev));
  co_return Status{};
}

Async<void> remove_object(RunningPtr running, std::string id) {
  const json object = {{"id", id}};
  KATA_CO_CHECK(co_await running->qmp->execute("object-del", object));
  co_return Status{};
}

Async<void> remove_backend(RunningPtr running, RenderedDevice rendered) {
  if (!rendered.object.is_null())
    KATA_CO_CHECK(co_await remove_object(running, rendered.object["id"]));
  if (!rendered.chardev_id.empty()) {
    const json chardev = {{"id", rendered.chardev_id}};
    KATA_CO_CHECK(co_await running->qmp->execute("chardev-remove", chardev));
  }
  if (!rendered.blockdev.is_null())
    KATA_CO_CHECK(co_await remove_node(running, rendered.blockdev["node-name"]));
  if (!rendered.netdev.is_null())
    KATA_CO_CHECK(co_await remove_netdev(running, rendered.netdev["id"]));
  co_return Status{};
}

/// The first `count`. QEMU that has ended has taken them along.
asio::awaitable<void> remove_backends(RunningPtr running, std::vector<Function> functions,
                                      size_t count) {
  for (size_t i = 0; i < count; ++i) {
    Status removed = co_await remove_backend(running, functions[i].rendered);
    if (!removed) log::warning("QEMU keeps a back end", {{"error", removed.error().message()}});
  }
}

/// Of a function that is not to come: QEMU would keep what nothing has taken.
asio::awaitable<void> close_fds(RunningPtr running, Function function) {
  for (const auto& [name, fd] : function.fds) {
    const json names = {{"fdname", name}};
    // An error is the usual answer: it has been taken, or has never come.
    (void)co_await running->qmp->execute("closefd", names);
  }
}

/// All or none.
Async<void> add_backends(RunningPtr running, std::vector<Function> functions) {
  for (size_t added = 0; added < functions.size(); ++added) {
    Status one = co_await add_backend(running, functions[added]);
    if (one) continue;
    co_await remove_backends(running, functions, added);
    co_await close_fds(running, functions[added]);
    co_return one;
  }
  co_return Status{};
}

/// As the functions of one slot, in their order.
Result<std::vector<Function>> render_slot(const std::vector<Device>& devices, uint32_t port) {
  if (devices.empty() || devices.size() > kDevicesPerPort)
    return fail(Code::kInvalidArgument, "{} devices for one slot, it takes 1 to {}", devices.size(),
                kDevicesPerPort);
  std::vector<Function> functions;
  for (size_t number = 0; number < devices.size(); ++number) {
    const std::string id = function_id(port, number);
    Function function;
    const NameFd name_fd = [&](int fd) {
      function.fds.emplace_back(fmt::format("{}-fd{}", id, function.fds.size()), fd);
      return function.fds.back().first;
    };
    KATA_TRY(function.rendered, render_device(devices[number], id, name_fd));
    place_in_slot(function.rendered.device, port, number, devices.size());
    functions.push_back(std::move(function));
  }
  return functions;
}

RunningQemu::Slot slot_of(const std::vector<Function>& functions) {
  RunningQemu::Slot slot;
  for (const auto& [rendered, fds] : functions) {
    slot.devices.push_back(rendered.device["id"]);
    if (!rendered.blockdev.is_null()) slot.nodes.push_back(rendered.blockdev["node-name"]);
    if (!rendered.netdev.is_null()) slot.netdevs.push_back(rendered.netdev["id"]);
  }
  return slot;
}

Async<void> attach_to(RunningPtr running, std::vector<Device> devices, uint32_t port) {
  KATA_CO_TRY(const std::vector<Function> functions, render_slot(devices, port));
  KATA_CO_CHECK(co_await add_backends(running, functions));
  // QEMU tells the guest when function 0 comes: it is the last.
  for (size_t function = functions.size(); function-- > 0;) {
    auto added = co_await running->qmp->execute("device_add", functions[function].rendered.device);
    if (added) continue;
    // QEMU opens a file with its back end, but locks it for a device. Of several functions it keeps
    // those that it has taken.
    if (function + 1 == functions.size())
      co_await remove_backends(running, functions, functions.size());
    co_return std::unexpected(added.error());
  }
  running->slots[port] = slot_of(functions);
  co_return Status{};
}

/// The guest lets a slot go as a whole, whichever of its functions is named.
Async<void> detach_slot(RunningPtr running, RunningQemu::Slot slot) {
  std::vector<sys::Event> gone;
  for (const std::string& id : slot.devices)
    gone.push_back(running->detaching.try_emplace(id, running->executor).first->second);
  const json device = {{"id", slot.devices.front()}};
  auto asked = co_await running->qmp->execute("device_del", device);
  // Let go after all since it was asked last.
  const bool has_gone = !asked && asked.error().code() == Code::kNotFound;
  if (!asked && !has_gone) co_return std::unexpected(asked.error());
  if (!has_gone)
    for (const sys::Event& event : gone)
      KATA_CO_CHECK(co_await running->await_event(event.wait(), kDetachLimit));
  for (const std::string& name : slot.nodes) KATA_CO_CHECK(co_await remove_node(running, name));
  for (const std::string& id : slot.netdevs) KATA_CO_CHECK(co_await remove_netdev(running, id));
  co_return Status{};
}

}  // namespace

Async<void> attach_at(RunningPtr running, std::vector<Device> devices, uint32_t port) {
  Status attached = co_await attach_to(running, std::move(devices), port);
  if (attached) co_return Status{};
  co_return std::unexpected(attached.error().with_stage(fmt::format("attach to port {}", port)));
}

Async<void> detach_from(RunningPtr running, uint32_t port) {
  RunningQemu::Slot slot;
  if (auto attached = running->slots.extract(port)) slot = std::move(attached.mapped());
  if (slot.devices.empty()) slot.devices.push_back(function_id(port, 0));  // there from the start
  Status detached = co_await detach_slot(running, slot);
  for (const std::string& id : slot.devices) running->detaching.erase(id);
  if (detached) co_return Status{};
  running->slots[port] = std::move(slot);
  co_return std::unexpected(detached.error().with_stage(fmt::format("detach port {}", port)));
}

}  // namespace kata::hypervisor
