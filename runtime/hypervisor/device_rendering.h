// A Device in QEMU's own terms. The JSON object serves -device before boot and device_add of QMP
// later: one way to attach a device.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/error/error.h"
#include "runtime/hypervisor/device.h"

namespace kata::hypervisor {

struct RenderedDevice {
  /// A character device that must exist first; empty path: none.
  std::string chardev_id;
  std::string chardev_socket;
  /// Arguments of device_add.
  nlohmann::json device;
};

/// `id` names the device in the VM. `vhost_fd_name` is how QEMU knows the descriptor of a
/// KernelVsock (its number, or the name given with getfd). InvalidArgument: a value QEMU cannot
/// take.
Result<RenderedDevice> render_device(const Device& device, const std::string& id,
                                     const std::string& vhost_fd_name);

/// Names in the VM: of what is in the i-th place (its function 0), of a further function there, and
/// of the root port that is that place.
std::string device_id(size_t place);
std::string function_id(size_t place, size_t function);
std::string root_port_id(size_t place);

/// A value inside a comma-separated option of QEMU: commas are doubled.
std::string escape_option(std::string_view value);

}  // namespace kata::hypervisor
