#include "runtime/hypervisor/command_line.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "common/sys/subprocess.h"
#include "runtime/hypervisor/device_rendering.h"

namespace kata::hypervisor {
namespace {

using nlohmann::json;

class Renderer {
 public:
  void add(std::string option, std::string value) {
    line_.arguments.push_back(std::move(option));
    line_.arguments.push_back(std::move(value));
  }
  void add(std::string option) { line_.arguments.push_back(std::move(option)); }
  void add_device(const json& device) { add("-device", device.dump()); }
  /// The number under which QEMU will know the descriptor.
  int pass_fd(int fd) {
    line_.fds.push_back(fd);
    return sys::kFirstPassedFd + static_cast<int>(line_.fds.size()) - 1;
  }
  CommandLine take() { return std::move(line_); }

 private:
  CommandLine line_;
};

bool has_hot_memory(const VmConfig& config) { return config.max_memory_mib > config.memory_mib; }

void add_memory(Renderer& out, const VmConfig& config) {
  if (config.memory_fd < 0) {
    // Not touched beforehand: pages that are reserved are there when the guest uses them.
    const std::string pages =
        config.hugepages ? fmt::format(",hugetlb=on,hugetlbsize={}M", kHotMemoryBlockMib) : "";
    out.add("-object", fmt::format("memory-backend-memfd,id=ram,size={}M,share=on{}",
                                   config.memory_mib, pages));
    return;
  }
  // The memfd back end makes its own; the file back end opens ours by its path.
  out.add("-object", fmt::format("memory-backend-file,id=ram,size={}M,share=on,"
                                 "mem-path=/proc/self/fd/{}",
                                 config.memory_mib, out.pass_fd(config.memory_fd)));
}

void add_machine(Renderer& out, const VmConfig& config) {
  const bool kvm = config.accelerator == Accelerator::kKvm;
  const uint32_t max_vcpus = std::max(config.vcpus, config.max_vcpus);
  // Nothing that a container guest can use is lost: no HPET (the TSC and the APIC timer are there),
  // no SMM, no SATA, no SMBus, no PS/2, no VMware port. Less to emulate, less to probe at boot,
  // less for a hostile guest to attack.
  out.add("-machine", fmt::format("{},memory-backend=ram,usb=off,graphics=off,hpet=off,smm=off,"
                                  "sata=off,smbus=off,i8042=off,vmport=off,dump-guest-core=off",
                                  config.machine_type));
  out.add("-accel", kvm ? "kvm" : max_vcpus > 1 ? "tcg,thread=multi" : "tcg,thread=single");
  // TCG runs "rep movsb" byte by byte: without these two the guest's kernel copies by words.
  out.add("-cpu", kvm ? "host" : "max,erms=off,fsrm=off");
  out.add("-smp", fmt::format("cpus={},maxcpus={},sockets=1,cores={},threads=1", config.vcpus,
                              max_vcpus, max_vcpus));
  out.add("-m", has_hot_memory(config)
                    ? fmt::format("{}M,maxmem={}M", config.memory_mib, config.max_memory_mib)
                    : fmt::format("{}M", config.memory_mib));
  add_memory(out, config);
  out.add("-rtc", kvm ? "base=utc,clock=host,driftfix=slew" : "base=utc,clock=host");
}

void add_confinement(Renderer& out, const VmConfig& config) {
  out.add("-nodefaults");
  out.add("-no-user-config");
  out.add("-display", "none");
  // A guest never reboots: its reset (a panic too) is the end of the VM.
  out.add("-no-reboot");
  if (config.seccomp_sandbox)
    out.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

void add_boot(Renderer& out, const VmConfig& config) {
  if (config.for_restore) {
    out.add("-incoming", "defer");
    // Until resume(): devices come between.
    out.add("-S");
    return;
  }
  out.add("-kernel", config.kernel.native());
  out.add("-initrd", config.initrd.native());
  out.add("-append", config.kernel_command_line);
}

void add_monitor_and_console(Renderer& out, const VmConfig& config, int qmp_fd) {
  out.add("-chardev", fmt::format("socket,id=qmp,fd={}", out.pass_fd(qmp_fd)));
  out.add("-mon", "chardev=qmp,mode=control");
  if (config.console_socket.empty()) return;
  out.add("-chardev", fmt::format("socket,id=console,path={},server=off",
                                  escape_option(config.console_socket.native())));
  out.add("-serial", "chardev:console");
}

void add_root_ports(Renderer& out, const VmConfig& config) {
  for (uint32_t i = 0; i < config.hotplug_ports; ++i)
    out.add_device({{"driver", "pcie-root-port"},
                    {"id", root_port_id(i)},
                    {"bus", "pcie.0"},
                    {"chassis", i + 1},
                    {"port", i + 1}});
}

Status add_devices(Renderer& out, const VmConfig& config) {
  // What continues a saved guest has another generation id: a kernel that knows the device draws
  // new random numbers at once (QEMU: docs/specs/vmgenid).
  if (config.memory_fd >= 0)
    out.add_device({{"driver", "vmgenid"}, {"id", "generation"}, {"guid", "auto"}});
  out.add("-object", "rng-builtin,id=rng");
  out.add_device({{"driver", "virtio-rng-pci"}, {"id", "rng0"}, {"rng", "rng"}});
  if (config.free_page_reporting)
    out.add_device(
        {{"driver", "virtio-balloon-pci"}, {"id", "balloon"}, {"free-page-reporting", true}});
  const bool in_slot = config.hotplug_ports > 0;
  if (in_slot && config.devices.size() > kDevicesPerPort)
    return fail(Code::kInvalidArgument, "{} devices for one slot, it takes {}",
                config.devices.size(), kDevicesPerPort);
  for (size_t i = 0; i < config.devices.size(); ++i) {
    const std::string id = in_slot ? function_id(0, i) : device_id(i);
    const NameFd name_fd = [&out](int fd) { return std::to_string(out.pass_fd(fd)); };
    KATA_TRY(RenderedDevice rendered, render_device(config.devices[i], id, name_fd));
    if (!rendered.object.is_null()) out.add("-object", rendered.object.dump());
    if (!rendered.chardev_id.empty())
      out.add("-chardev", fmt::format("socket,id={},path={}", rendered.chardev_id,
                                      escape_option(rendered.chardev_socket)));
    if (!rendered.blockdev.is_null()) out.add("-blockdev", rendered.blockdev.dump());
    if (!rendered.netdev.is_null()) out.add("-netdev", rendered.netdev.dump());
    if (in_slot) place_in_slot(rendered.device, 0, i, config.devices.size());
    out.add_device(rendered.device);
  }
  return {};
}

}  // namespace

Result<CommandLine> render_command_line(const VmConfig& config, int qmp_fd) {
  Renderer out;
  out.add("-name", fmt::format("{},debug-threads=on", escape_option(config.name)));
  add_confinement(out, config);
  add_machine(out, config);
  add_boot(out, config);
  add_monitor_and_console(out, config, qmp_fd);
  add_root_ports(out, config);
  KATA_CHECK(add_devices(out, config));
  return out.take();
}

std::string base_kernel_command_line(const VmConfig& config) {
  // A kernel that has found itself broken must not go on: its half-dead tasks would never end.
  // A kernel with all drivers built in has a dummy0 from its start, which no container asked for.
  std::string line = "console=ttyS0 panic=-1 oops=panic quiet dummy.numdummies=0";
  // A single CPU makes the kernel patch some 8000 lock prefixes away: code that TCG translates, and
  // gains nothing from (docs/adr/0006-tuned-kernel.md). The guest's TSC is the host's, which a
  // guest that boots on a busy host finds unsteady against its emulated timers: it would read the
  // ACPI timer from then on, ten times as slow.
  if (config.accelerator == Accelerator::kTcg) line += " no_timer_check noreplace-smp tsc=reliable";
  // Its module is loaded only where there is the device.
  if (config.free_page_reporting) line += " agent.balloon";
  // Memory that comes is for what can be moved away again, in a proportion that leaves the kernel
  // room for its own. Memory above 4 GiB, which may come, is no reason to keep 64 MiB of bounce
  // buffers: virtio reaches everything.
  if (has_hot_memory(config))
    line += " memhp_default_state=online memory_hotplug.online_policy=auto-movable swiotlb=noforce";
  return line;
}

}  // namespace kata::hypervisor
