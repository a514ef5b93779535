#include "runtime/hypervisor/libvirt/domain_xml.h"

#include "runtime/hypervisor/device_rendering.h"

namespace kata::hypervisor {
namespace {

/// A slot of pcie.0 that libvirt gives to no device by itself: it counts up from 1.
constexpr int kFirstOwnSlot = 0x1e;
constexpr int kLastOwnSlot = 0x10;
constexpr int kVirtiofsQueueSize = 1024;

/// What libvirt models itself goes to `devices`, the rest to QEMU's command line.
struct Rendered {
  std::string devices;
  std::string qemu_arguments;
  int next_slot = kFirstOwnSlot;
};

std::string argument(std::string_view value) {
  return fmt::format("    <qemu:arg value='{}'/>\n", escape_xml(value));
}

/// libvirt knows no vhost-user vsock: its chardev and device go to QEMU as they are.
Status add(const VhostUserVsock& vsock, const std::string& id, Rendered& out) {
  if (out.next_slot < kLastOwnSlot)
    return fail(Code::kOutOfRange, "too many devices that libvirt does not know");
  KATA_TRY(RenderedDevice rendered, render_device(vsock, id, {}));
  // libvirt places its own devices without knowing of this one.
  rendered.device["bus"] = "pcie.0";
  rendered.device["addr"] = fmt::format("{:#x}", out.next_slot--);
  out.qemu_arguments += argument("-chardev");
  out.qemu_arguments += argument(fmt::format("socket,id={},path={}", rendered.chardev_id,
                                             escape_option(rendered.chardev_socket)));
  out.qemu_arguments += argument("-device");
  out.qemu_arguments += argument(rendered.device.dump());
  return {};
}

Status add(const KernelVsock&, const std::string&, Rendered&) {
  // libvirt opens /dev/vhost-vsock itself and would claim the CID that our back end holds.
  return fail(Code::kUnimplemented,
              "the libvirt launcher has no kernel vsock: set vsock = \"vhost-user\" or launcher = "
              "\"direct\" in [hypervisor.qemu]");
}

Status add(const VhostUserFs& fs, const std::string& id, Rendered& out) {
  // Checks what QEMU would refuse.
  KATA_CHECK(render_device(fs, id, {}));
  out.devices += fmt::format(
      "    <filesystem type='mount'>\n"
      "      <driver type='virtiofs' queue='{}'/>\n"
      "      <source socket='{}'/>\n"
      "      <target dir='{}'/>\n"
      "    </filesystem>\n",
      kVirtiofsQueueSize, escape_xml(fs.socket.native()), escape_xml(fs.tag));
  return {};
}

Status add(const Block&, const std::string&, Rendered&) {
  return fail(
      Code::kUnimplemented,
      "the libvirt launcher has no disks: set disable_block_device_use = true or launcher = "
      "\"direct\" in [hypervisor.qemu]");
}

Status add(const NetworkCard&, const std::string&, Rendered&) {
  return fail(Code::kUnimplemented,
              "the libvirt launcher has no network yet: set launcher = \"direct\" in "
              "[hypervisor.qemu]");
}

Status add(const HotMemory&, const std::string&, Rendered&) {
  return fail(Code::kUnimplemented, "a VM of the libvirt launcher keeps the memory of its boot");
}

Result<Rendered> render_devices(const VmConfig& config) {
  Rendered out;
  for (size_t i = 0; i < config.devices.size(); ++i) {
    const std::string id = fmt::format("kata-dev{}", i);
    KATA_CHECK(
        std::visit([&](const auto& device) { return add(device, id, out); }, config.devices[i]));
  }
  if (!config.console_socket.empty())
    out.devices += fmt::format(
        "    <serial type='unix'><source mode='connect' path='{}'/><target port='0'/></serial>\n",
        escape_xml(config.console_socket.native()));
  for (uint32_t i = 0; i < config.hotplug_ports; ++i)
    out.devices += "    <controller type='pci' model='pcie-root-port'/>\n";
  return out;
}

std::string render_boot(const VmConfig& config) {
  return fmt::format(
      "  <os>\n"
      "    <type arch='x86_64' machine='{}'>hvm</type>\n"
      "    <kernel>{}</kernel>\n"
      "    <initrd>{}</initrd>\n"
      "    <cmdline>{}</cmdline>\n"
      "  </os>\n",
      escape_xml(config.machine_type), escape_xml(config.kernel.native()),
      escape_xml(config.initrd.native()), escape_xml(config.kernel_command_line));
}

}  // namespace

std::string escape_xml(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '\'':
        escaped += "&apos;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return escaped;
}

Result<std::string> render_domain_xml(const VmConfig& config, const std::string& domain_name,
                                      const std::string& uuid) {
  const bool kvm = config.accelerator == Accelerator::kKvm;
  KATA_TRY(const Rendered devices, render_devices(config));
  std::string xml = fmt::format(
      "<domain type='{}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
      "  <name>{}</name>\n  <uuid>{}</uuid>\n  <title>{}</title>\n",
      kvm ? "kvm" : "qemu", escape_xml(domain_name), uuid, escape_xml(config.name));
  const std::string pages =
      config.hugepages
          ? fmt::format("<hugepages><page size='{}' unit='M'/></hugepages>", kHotMemoryBlockMib)
          : "";
  xml += fmt::format(
      "  <memory unit='MiB'>{}</memory>\n"
      "  <memoryBacking>{}<source type='memfd'/><access mode='shared'/></memoryBacking>\n"
      "  <vcpu>{}</vcpu>\n",
      config.memory_mib, pages, config.vcpus);
  xml += render_boot(config);
  xml += "  <features><acpi/><apic/><smm state='off'/><vmport state='off'/></features>\n";
  // See add_machine() of the command line for the two features.
  xml += kvm ? "  <cpu mode='host-passthrough'/>\n"
             : "  <cpu mode='maximum'><feature policy='disable' name='erms'/>"
               "<feature policy='disable' name='fsrm'/></cpu>\n";
  xml += "  <clock offset='utc'><timer name='hpet' present='no'/></clock>\n";
  // A guest never reboots: its reset (a panic too) is the end of the VM.
  xml += "  <on_reboot>destroy</on_reboot>\n  <on_crash>destroy</on_crash>\n";
  xml += fmt::format(
      "  <devices>\n    <emulator>{}</emulator>\n"
      "    <controller type='usb' model='none'/>\n    <memballoon {}/>\n"
      "    <rng model='virtio'><backend model='builtin'/></rng>\n{}  </devices>\n",
      escape_xml(config.qemu_path.native()),
      config.free_page_reporting ? "model='virtio' freePageReporting='on'" : "model='none'",
      devices.devices);
  // QEMU must reach sockets in a directory that only root may enter, whatever qemu.conf says.
  xml += "  <seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>\n";
  if (!devices.qemu_arguments.empty())
    xml += "  <qemu:commandline>\n" + devices.qemu_arguments + "  </qemu:commandline>\n";
  // Without it libvirt asks QEMU for every CPU feature, one by one: 0.3 s at each start.
  xml +=
      "  <qemu:capabilities><qemu:del "
      "capability='cpu-unavailable-features'/></qemu:capabilities>\n";
  return xml + "</domain>\n";
}

}  // namespace kata::hypervisor
