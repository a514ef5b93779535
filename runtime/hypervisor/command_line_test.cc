#include "runtime/hypervisor/command_line.h"

#include <algorithm>
#include <fstream>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "runtime/hypervisor/device_rendering.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::hypervisor {
namespace {

constexpr int kQmpFd = 40;

VmConfig example() {
  VmConfig config;
  config.name = "pod1";
  config.qemu_path = "/usr/bin/qemu-system-x86_64";
  config.kernel = "/k/vmlinux";
  config.initrd = "/k/initrd";
  config.kernel_command_line = "console=ttyS0 quiet";
  config.console_socket = "/run/kata/1/console.sock";
  return config;
}

std::vector<std::string> arguments(const VmConfig& config) {
  const auto line = render_command_line(config, kQmpFd);
  REQUIRE(line.has_value());
  return line->arguments;
}

/// Every value that follows `option`.
std::vector<std::string> values(const std::vector<std::string>& arguments,
                                std::string_view option) {
  std::vector<std::string> found;
  for (size_t i = 0; i + 1 < arguments.size(); ++i)
    if (arguments[i] == option) found.push_back(arguments[i + 1]);
  return found;
}

bool holds(const std::vector<std::string>& list, std::string_view value) {
  return std::ranges::find(list, value) != list.end();
}

TEST_CASE("the VM is lean, confined and never reboots") {
  const auto line = arguments(example());
  CHECK(holds(line, "-nodefaults"));
  CHECK(holds(line, "-no-user-config"));
  CHECK(holds(line, "-no-reboot"));
  CHECK(values(line, "-display") == std::vector<std::string>{"none"});
  CHECK(values(line, "-sandbox") ==
        std::vector<std::string>{
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"});
  CHECK(values(line, "-kernel") == std::vector<std::string>{"/k/vmlinux"});
  CHECK(values(line, "-initrd") == std::vector<std::string>{"/k/initrd"});
  CHECK(values(line, "-append") == std::vector<std::string>{"console=ttyS0 quiet"});
}

TEST_CASE("the seccomp sandbox can be switched off") {
  VmConfig config = example();
  config.seccomp_sandbox = false;
  CHECK_FALSE(holds(arguments(config), "-sandbox"));
}

TEST_CASE("guest memory is a shared memfd of the wanted size") {
  VmConfig config = example();
  config.memory_mib = 512;
  const auto line = arguments(config);
  CHECK(values(line, "-m") == std::vector<std::string>{"512M"});
  CHECK(holds(values(line, "-object"), "memory-backend-memfd,id=ram,size=512M,share=on"));
  CHECK(values(line, "-machine").front().starts_with("q35,memory-backend=ram,"));
}

TEST_CASE("the accelerator chooses CPU and threads") {
  VmConfig config = example();
  CHECK(values(arguments(config), "-accel").front() == "tcg,thread=single");
  CHECK(values(arguments(config), "-cpu").front() == "max,erms=off,fsrm=off");
  config.vcpus = 2;
  CHECK(values(arguments(config), "-accel").front() == "tcg,thread=multi");
  CHECK(values(arguments(config), "-smp").front() ==
        "cpus=2,maxcpus=2,sockets=1,cores=2,threads=1");
  config.accelerator = Accelerator::kKvm;
  CHECK(values(arguments(config), "-accel").front() == "kvm");
  CHECK(values(arguments(config), "-cpu").front() == "host");
}

TEST_CASE("room for processors and memory that come later") {
  VmConfig config = example();
  CHECK(values(arguments(config), "-smp").front() ==
        "cpus=1,maxcpus=1,sockets=1,cores=1,threads=1");
  CHECK(base_kernel_command_line(config).find("memhp") == std::string::npos);
  config.max_vcpus = 4;
  config.max_memory_mib = config.memory_mib + 1024;
  config.devices = {HotMemory{.max_mib = 1024}};
  const auto line = arguments(config);
  CHECK(values(line, "-smp").front() == "cpus=1,maxcpus=4,sockets=1,cores=4,threads=1");
  CHECK(values(line, "-m").front() == "256M,maxmem=1280M");
  CHECK(values(line, "-accel").front() == "tcg,thread=multi");
  CHECK(holds(values(line, "-object"),
              R"({"id":"hot-memory-ram","qom-type":"memory-backend-memfd","reserve":false,)"
              R"("share":true,"size":1073741824})"));
  CHECK(holds(values(line, "-device"),
              R"({"driver":"virtio-mem-pci","id":"hot-memory","memdev":"hot-memory-ram"})"));
  CHECK(base_kernel_command_line(config).find("online_policy=auto-movable") != std::string::npos);

  config.devices = {HotMemory{.max_mib = 1023}};
  CHECK(render_command_line(config, kQmpFd).error().code() == Code::kInvalidArgument);
}

TEST_CASE("memory in huge pages of the host") {
  VmConfig config = example();
  config.hugepages = true;
  config.max_memory_mib = config.memory_mib + 1024;
  config.devices = {HotMemory{.max_mib = 1024, .in_hugepages = true}};
  const auto line = arguments(config);
  CHECK(holds(values(line, "-object"),
              "memory-backend-memfd,id=ram,size=256M,share=on,hugetlb=on,hugetlbsize=2M"));
  CHECK(holds(values(line, "-object"),
              R"({"hugetlb":true,"hugetlbsize":2097152,"id":"hot-memory-ram",)"
              R"("qom-type":"memory-backend-memfd","reserve":false,"share":true,)"
              R"("size":1073741824})"));
  CHECK(holds(values(line, "-device"), R"({"driver":"virtio-mem-pci","id":"hot-memory",)"
                                       R"("memdev":"hot-memory-ram","prealloc":true})"));
}

TEST_CASE("monitor and console") {
  const auto rendered = render_command_line(example(), kQmpFd);
  REQUIRE(rendered.has_value());
  CHECK(rendered->fds == std::vector<int>{kQmpFd});
  const auto chardevs = values(rendered->arguments, "-chardev");
  CHECK(holds(chardevs, "socket,id=qmp,fd=3"));
  CHECK(holds(chardevs, "socket,id=console,path=/run/kata/1/console.sock,server=off"));
  CHECK(values(rendered->arguments, "-mon").front() == "chardev=qmp,mode=control");
  CHECK(values(rendered->arguments, "-serial").front() == "chardev:console");
}

TEST_CASE("devices are JSON, with their sockets and descriptors") {
  VmConfig config = example();
  config.devices = {VhostUserVsock{.socket = "/run/a,b/vsock.sock"},
                    VhostUserFs{.socket = "/run/fs.sock", .tag = "kataShared"},
                    KernelVsock{.guest_cid = 7, .vhost_fd = 50}};
  const auto rendered = render_command_line(config, kQmpFd);
  REQUIRE(rendered.has_value());
  CHECK(rendered->fds == std::vector<int>{kQmpFd, 50});
  const auto chardevs = values(rendered->arguments, "-chardev");
  CHECK(holds(chardevs, "socket,id=dev0-socket,path=/run/a,,b/vsock.sock"));
  CHECK(holds(chardevs, "socket,id=dev1-socket,path=/run/fs.sock"));

  std::map<std::string, nlohmann::json> devices;
  for (const auto& text : values(rendered->arguments, "-device")) {
    const auto device = nlohmann::json::parse(text);
    devices[device["id"]] = device;
  }
  CHECK(devices["dev0"]["driver"] == "vhost-user-vsock-pci");
  CHECK(devices["dev0"]["chardev"] == "dev0-socket");
  CHECK(devices["dev1"]["driver"] == "vhost-user-fs-pci");
  CHECK(devices["dev1"]["tag"] == "kataShared");
  CHECK(devices["dev2"]["driver"] == "vhost-vsock-pci");
  CHECK(devices["dev2"]["guest-cid"] == 7);
  CHECK(devices["dev2"]["vhostfd"] == "4");
  CHECK(devices["rng0"]["driver"] == "virtio-rng-pci");
  CHECK_FALSE(devices["dev0"].contains("bus"));
}

TEST_CASE("a network card is a tap's descriptor, and vhost's where there is one") {
  VmConfig config = example();
  config.devices = {NetworkCard{.tap_fds = {50}, .vhost_fds = {}, .mac = "02:00:00:00:00:01"},
                    NetworkCard{.tap_fds = {60}, .vhost_fds = {61}, .mac = "02:00:00:00:00:02"}};
  const auto rendered = render_command_line(config, kQmpFd);
  REQUIRE(rendered.has_value());
  CHECK(rendered->fds == std::vector<int>{kQmpFd, 50, 60, 61});
  const auto netdevs = values(rendered->arguments, "-netdev");
  REQUIRE(netdevs.size() == 2);
  const auto plain = nlohmann::json::parse(netdevs[0]);
  CHECK(plain == nlohmann::json{{"type", "tap"}, {"id", "dev0-tap"}, {"fd", "4"}});
  const auto with_vhost = nlohmann::json::parse(netdevs[1]);
  CHECK(with_vhost["fd"] == "5");
  CHECK(with_vhost["vhost"] == true);
  CHECK(with_vhost["vhostfd"] == "6");
  const auto devices = values(rendered->arguments, "-device");
  const auto card = nlohmann::json::parse(devices.back());
  CHECK(card["driver"] == "virtio-net-pci");
  CHECK(card["netdev"] == "dev1-tap");
  CHECK(card["mac"] == "02:00:00:00:00:02");
  CHECK(card["mq"] == false);
}

TEST_CASE("a network card with several queues") {
  VmConfig config = example();
  config.devices = {NetworkCard{.tap_fds = {50, 51}, .vhost_fds = {60, 61}, .mac = "02::1"}};
  const auto rendered = render_command_line(config, kQmpFd);
  REQUIRE(rendered.has_value());
  CHECK(rendered->fds == std::vector<int>{kQmpFd, 50, 51, 60, 61});
  const auto netdev = nlohmann::json::parse(values(rendered->arguments, "-netdev").at(0));
  CHECK(netdev == nlohmann::json{{"type", "tap"},
                                 {"id", "dev0-tap"},
                                 {"fds", "4:5"},
                                 {"vhost", true},
                                 {"vhostfds", "6:7"}});
  CHECK(nlohmann::json::parse(values(rendered->arguments, "-device").back())["mq"] == true);
}

TEST_CASE("a network card without a tap, or with another number of vhost's queues, is refused") {
  VmConfig config = example();
  const auto vhosts = GENERATE(std::vector<int>{}, std::vector<int>{60});
  std::vector<int> taps;
  if (!vhosts.empty()) taps = {50, 51};
  config.devices = {NetworkCard{.tap_fds = taps, .vhost_fds = vhosts, .mac = "02::1"}};
  CHECK(render_command_line(config, kQmpFd).error().code() == Code::kInvalidArgument);
}

TEST_CASE("with root ports, the devices are in the first one's slot, and the rest are free") {
  VmConfig config = example();
  config.devices.assign(2, VhostUserVsock{.socket = "/run/vsock.sock"});
  config.hotplug_ports = 2;
  std::map<std::string, nlohmann::json> devices;
  for (const auto& text : values(arguments(config), "-device")) {
    const auto device = nlohmann::json::parse(text);
    devices[device["id"]] = device;
  }
  CHECK(devices["rp0"]["driver"] == "pcie-root-port");
  CHECK(devices["rp0"]["chassis"] != devices["rp1"]["chassis"]);
  CHECK(devices["dev0-0"]["bus"] == "rp0");
  CHECK(devices["dev0-0"]["addr"] == "0.0");
  CHECK(devices["dev0-0"]["multifunction"] == true);
  CHECK(devices["dev0-1"]["addr"] == "0.1");
  config.devices.assign(9, VhostUserVsock{.socket = "/run/vsock.sock"});
  CHECK(render_command_line(config, kQmpFd).error().code() == Code::kInvalidArgument);
}

TEST_CASE("a VM that continues a saved one has its RAM from us and boots nothing") {
  VmConfig config = example();
  config.memory_fd = 60;
  const auto booting = render_command_line(config, kQmpFd);
  REQUIRE(booting.has_value());
  CHECK(booting->fds == std::vector<int>{60, kQmpFd});
  CHECK(holds(values(booting->arguments, "-object"),
              "memory-backend-file,id=ram,size=256M,share=on,mem-path=/proc/self/fd/3"));
  CHECK(holds(booting->arguments, "-kernel"));
  const std::string generation = R"({"driver":"vmgenid","guid":"auto","id":"generation"})";
  CHECK(holds(values(booting->arguments, "-device"), generation));
  CHECK_FALSE(holds(booting->arguments, "-incoming"));
  config.for_restore = true;
  const auto line = arguments(config);
  CHECK(values(line, "-incoming") == std::vector<std::string>{"defer"});
  CHECK(holds(values(line, "-device"), generation));
  CHECK_FALSE(holds(values(arguments(example()), "-device"), generation));
  CHECK(holds(line, "-S"));
  for (const char* option : {"-kernel", "-initrd", "-append"}) CHECK_FALSE(holds(line, option));
}

TEST_CASE("a disk's file is raw, whatever is in it") {
  const fakes::TemporaryDirectory directory;
  const auto image = directory.path() / "an,image";
  std::ofstream(image) << "QFI\xfb";  // as a qcow2 image begins
  VmConfig config = example();
  config.devices = {Block{.file = image, .read_only = true, .serial = "d1"}};
  const auto line = arguments(config);
  const auto blockdevs = values(line, "-blockdev");
  REQUIRE(blockdevs.size() == 1);
  const auto blockdev = nlohmann::json::parse(blockdevs[0]);
  CHECK(blockdev["driver"] == "raw");
  CHECK(blockdev["read-only"] == true);
  CHECK(blockdev["file"]["driver"] == "file");
  CHECK(blockdev["file"]["filename"] == image.native());
  const auto device = nlohmann::json::parse(values(line, "-device").back());
  CHECK(device["driver"] == "virtio-blk-pci");
  CHECK(device["drive"] == blockdev["node-name"]);
  CHECK(device["serial"] == "d1");
  CHECK(device["werror"] == "report");
  CHECK(device["rerror"] == "report");
}

TEST_CASE("a disk that QEMU could not have") {
  VmConfig config = example();
  const auto refusal = [&](Block block) {
    config.devices = {std::move(block)};
    return render_command_line(config, kQmpFd).error().code();
  };
  CHECK(refusal({.file = "/no/such/image", .serial = "d1"}) == Code::kNotFound);
  CHECK(refusal({.file = "/tmp", .serial = "d1"}) == Code::kInvalidArgument);
  CHECK(refusal({.file = "/dev/null", .serial = "d1"}) == Code::kInvalidArgument);
  CHECK(refusal({.file = "/etc/passwd", .serial = ""}) == Code::kInvalidArgument);
  CHECK(refusal({.file = "/etc/passwd", .serial = "d,1"}) == Code::kInvalidArgument);
  CHECK(refusal({.file = "/etc/passwd", .serial = std::string(21, 'd')}) == Code::kInvalidArgument);
}

TEST_CASE("what QEMU could not take is refused before it is started") {
  VmConfig config = example();
  config.devices = {VhostUserVsock{.socket = "/" + std::string(108, 's')}};
  CHECK(render_command_line(config, kQmpFd).error().code() == Code::kInvalidArgument);
  config.devices = {VhostUserFs{.socket = "/s", .tag = std::string(37, 't')}};
  CHECK(render_command_line(config, kQmpFd).error().code() == Code::kInvalidArgument);
  config.devices = {KernelVsock{.guest_cid = 2, .vhost_fd = 5}};
  CHECK(render_command_line(config, kQmpFd).error().code() == Code::kInvalidArgument);
}

TEST_CASE("a guest's panic ends the VM with its text on the console") {
  const std::string line = base_kernel_command_line(example());
  CHECK(line.find("console=ttyS0") != std::string::npos);
  CHECK(line.find("panic=-1") != std::string::npos);
}

TEST_CASE(
    "only an emulated CPU's kernel leaves its timer unchecked and its lock prefixes in place") {
  VmConfig config = example();
  config.accelerator = Accelerator::kTcg;
  CHECK(base_kernel_command_line(config).ends_with(" no_timer_check noreplace-smp tsc=reliable"));
  config.accelerator = Accelerator::kKvm;
  CHECK(base_kernel_command_line(config) ==
        "console=ttyS0 panic=-1 oops=panic quiet dummy.numdummies=0");
}

TEST_CASE("a balloon, and its module, only where free memory is to come back") {
  VmConfig config = example();
  const std::string balloon =
      R"({"driver":"virtio-balloon-pci","free-page-reporting":true,"id":"balloon"})";
  CHECK_FALSE(holds(values(arguments(config), "-device"), balloon));
  CHECK(base_kernel_command_line(config).find("agent.balloon") == std::string::npos);
  config.free_page_reporting = true;
  CHECK(holds(values(arguments(config), "-device"), balloon));
  CHECK(base_kernel_command_line(config).find(" agent.balloon") != std::string::npos);
}

TEST_CASE("commas inside of options are doubled") {
  CHECK(escape_option("a,b,,c") == "a,,b,,,,c");
  CHECK(escape_option("") == "");
}

}  // namespace
}  // namespace kata::hypervisor
