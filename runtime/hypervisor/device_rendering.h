// A Device in QEMU's own terms. The JSON object serves -device before boot and device_add of QMP
// later: one way to attach a device.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/error/error.h"
#include "runtime/hypervisor/device.h"

namespace kata::hypervisor {

struct RenderedDevice {
  /// An object that must exist first: the arguments of object-add; null: none.
  nlohmann::json object{};
  /// A character device that must exist first; empty path: none.
  std::string chardev_id;
  std::string chardev_socket;
  /// A block node that must exist first: the arguments of blockdev-add; null: none.
  nlohmann::json blockdev;
  /// A network back end that must exist first: the arguments of netdev_add; null: none.
  nlohmann::json netdev;
  /// Arguments of device_add.
  nlohmann::json device;
};

/// The HotMemory of a VM, whatever place it has.
inline constexpr const char* kHotMemoryId = "hot-memory";

/// How QEMU will know a descriptor: its number there, or the name that it is given with getfd.
using NameFd = std::function<std::string(int fd)>;

/// `id` names the device in the VM, unless there is only one of its kind. `name_fd` is called for
/// each descriptor that the device is made of. InvalidArgument: a value QEMU cannot take.
Result<RenderedDevice> render_device(const Device& device, const std::string& id,
                                     const NameFd& name_fd);

/// Names in the VM: of the i-th device of a VM without root ports, of a root port, and of one of
/// the functions in it.
std::string device_id(size_t index);
std::string root_port_id(uint32_t port);
std::string function_id(uint32_t port, size_t function);

/// Completes the arguments of a device that is one of `count` functions in a root port's slot.
void place_in_slot(nlohmann::json& device, uint32_t port, size_t function, size_t count);

/// A value inside a comma-separated option of QEMU: commas are doubled.
std::string escape_option(std::string_view value);

}  // namespace kata::hypervisor
