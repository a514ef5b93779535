#include "runtime/hypervisor/libvirt/domain_xml.h"

#include <catch2/catch.hpp>

namespace kata::hypervisor {
namespace {

VmConfig example() {
  VmConfig config;
  config.name = "pod1";
  config.qemu_path = "/usr/bin/qemu-system-x86_64";
  config.kernel = "/k/vmlinux";
  config.initrd = "/k/initrd";
  config.kernel_command_line = "console=ttyS0 a='<&>'";
  config.console_socket = "/run/kata/1/console.sock";
  return config;
}

std::string render(const VmConfig& config) {
  const auto xml = render_domain_xml(config, "kata-1", "9404c030-0bbd-40aa-83b4-44ae305c3033");
  REQUIRE(xml.has_value());
  return *xml;
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("the domain is the machine that the direct launcher starts") {
  const std::string xml = render(example());
  CHECK(contains(xml, "<domain type='qemu'"));
  CHECK(contains(xml, "<name>kata-1</name>"));
  CHECK(contains(xml, "<uuid>9404c030-0bbd-40aa-83b4-44ae305c3033</uuid>"));
  CHECK(contains(xml, "<source type='memfd'/><access mode='shared'/>"));
  CHECK(contains(xml, "<kernel>/k/vmlinux</kernel>"));
  CHECK(contains(xml, "<initrd>/k/initrd</initrd>"));
  CHECK(contains(xml, "<cpu mode='maximum'><feature policy='disable' name='erms'/>"));
  CHECK(contains(xml, "<on_reboot>destroy</on_reboot>"));
  CHECK(contains(xml, "<source mode='connect' path='/run/kata/1/console.sock'/>"));
  CHECK(contains(xml, "cpu-unavailable-features"));
  CHECK_FALSE(contains(xml, "qemu:commandline"));
}

TEST_CASE("text cannot become markup") {
  CHECK(contains(render(example()), "a=&apos;&lt;&amp;&gt;&apos;</cmdline>"));
  CHECK(escape_xml("a\x01\n\"b") == "a??&quot;b");
}

TEST_CASE("a domain of huge pages of the host") {
  VmConfig config = example();
  config.hugepages = true;
  CHECK(contains(render(config),
                 "<memoryBacking><hugepages><page size='2' unit='M'/></hugepages>"
                 "<source type='memfd'/>"));
}

TEST_CASE("KVM passes the host's CPU through") {
  VmConfig config = example();
  config.accelerator = Accelerator::kKvm;
  const std::string xml = render(config);
  CHECK(contains(xml, "<domain type='kvm'"));
  CHECK(contains(xml, "<cpu mode='host-passthrough'/>"));
}

TEST_CASE("devices: libvirt's own by XML, vhost-user vsock by QEMU's command line") {
  VmConfig config = example();
  config.devices = {VhostUserVsock{.socket = "/run/v.sock"},
                    VhostUserFs{.socket = "/run/f.sock", .tag = "kataShared"}};
  config.hotplug_ports = 2;
  const std::string xml = render(config);
  CHECK(contains(xml, "<source socket='/run/f.sock'/>"));
  CHECK(contains(xml, "<target dir='kataShared'/>"));
  CHECK(contains(xml, "<qemu:arg value='socket,id=kata-dev0-socket,path=/run/v.sock'/>"));
  CHECK(contains(xml, "&quot;addr&quot;:&quot;0x1e&quot;"));
  CHECK(contains(xml, "pcie-root-port"));
}

TEST_CASE("a balloon only where free memory is to come back") {
  VmConfig config = example();
  CHECK(contains(render(config), "<memballoon model='none'/>"));
  config.free_page_reporting = true;
  CHECK(contains(render(config), "<memballoon model='virtio' freePageReporting='on'/>"));
}

TEST_CASE("the kernel's vsock is refused with the remedy") {
  VmConfig config = example();
  config.devices = {KernelVsock{.guest_cid = 3, .vhost_fd = 5}};
  const auto xml = render_domain_xml(config, "kata-1", "u");
  REQUIRE_FALSE(xml.has_value());
  CHECK(xml.error().code() == Code::kUnimplemented);
  CHECK(contains(xml.error().message(), "vsock = \"vhost-user\""));
}

}  // namespace
}  // namespace kata::hypervisor
