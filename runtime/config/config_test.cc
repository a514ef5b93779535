#include "runtime/config/config.h"

#include <cstdlib>
#include <fstream>

#include <catch2/catch.hpp>

#include "common/base/unique_fd.h"
#include "runtime/config/nearest.h"

namespace kata::config {
namespace {

/// A configuration file that is removed with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view text) {
    char name[] = "/tmp/kata-config-XXXXXX";
    const UniqueFd fd(::mkstemp(name));
    path_ = name;
    std::ofstream(path_) << text;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string refusal(std::string_view text) {
  const TemporaryFile file(text);
  const auto config = load_file(file.path());
  REQUIRE_FALSE(config.has_value());
  CHECK(config.error().code() == Code::kInvalidArgument);
  const std::string prefix = "configuration " + file.path().native() + " ";
  REQUIRE(config.error().message().starts_with(prefix));
  return config.error().message().substr(prefix.size());
}

TEST_CASE("every key reaches its setting") {
  const TemporaryFile file(R"(
[hypervisor.qemu]
path = "/opt/qemu"
kernel = "/opt/vmlinux"
initrd = "/opt/initrd"
machine_type = "q35"
kernel_params = "loglevel=7"
default_vcpus = 2
default_memory = 512
virtio_fs_daemon = "/opt/virtiofsd"
virtio_fs_cache = "never"
disable_block_device_use = true
seccompsandbox = false
enable_hugepages = true
reclaim_guest_freed_memory = true
disable_guest_apparmor = false
disable_guest_selinux = false
accel = "tcg"
launcher = "libvirt"
libvirt_uri = "qemu:///system?socket=/run/v/sock"
vsock = "vhost-user"
enable_annotations = ["default_.*"]
valid_hypervisor_paths = ["/opt/qemu-*"]
valid_virtio_fs_daemon_paths = ["/opt/v"]
valid_kernel_paths = ["/opt/k1", "/opt/k2"]
valid_initrd_paths = []
[agent.kata]
dial_timeout = 5
enable_debug = true
[runtime]
enable_debug = true
state_root = "/run/k"
[factory]
template = "off"
template_path = "/run/t"
)");
  const auto config = load_file(file.path());
  REQUIRE(config.has_value());
  const Hypervisor& qemu = config->hypervisor;
  CHECK(qemu.path == "/opt/qemu");
  CHECK(qemu.kernel == "/opt/vmlinux");
  CHECK(qemu.initrd == "/opt/initrd");
  CHECK(qemu.kernel_params == "loglevel=7");
  CHECK(qemu.default_vcpus == 2);
  CHECK(qemu.default_memory_mib == 512);
  CHECK(qemu.virtio_fs_daemon == "/opt/virtiofsd");
  CHECK(qemu.virtio_fs_cache == "never");
  CHECK(qemu.disable_block_device_use);
  CHECK_FALSE(qemu.seccomp_sandbox);
  CHECK(qemu.enable_hugepages);
  CHECK(qemu.reclaim_guest_freed_memory);
  CHECK_FALSE(qemu.disable_guest_apparmor);
  CHECK_FALSE(qemu.disable_guest_selinux);
  CHECK(qemu.accelerator == AcceleratorChoice::kTcg);
  CHECK(qemu.launcher == LauncherChoice::kLibvirt);
  CHECK(qemu.libvirt_uri == "qemu:///system?socket=/run/v/sock");
  CHECK(qemu.vsock == VsockChoice::kVhostUser);
  CHECK(qemu.enable_annotations == std::vector<std::string>{"default_.*"});
  CHECK(qemu.valid_hypervisor_paths == std::vector<std::string>{"/opt/qemu-*"});
  CHECK(qemu.valid_virtio_fs_daemon_paths == std::vector<std::string>{"/opt/v"});
  CHECK(qemu.valid_kernel_paths == std::vector<std::string>{"/opt/k1", "/opt/k2"});
  CHECK(qemu.valid_initrd_paths.empty());
  CHECK(config->agent.dial_timeout == std::chrono::seconds(5));
  CHECK(config->agent.debug);
  CHECK(config->runtime.log_level == log::Level::kDebug);
  CHECK(config->runtime.state_root == "/run/k");
  CHECK_FALSE(config->factory.use_template);
  CHECK(config->factory.template_path == "/run/t");
  CHECK(config->source == file.path());
}

TEST_CASE("templates are for the direct launcher") {
  const TemporaryFile file("[factory]\ntemplate = \"auto\"\n");
  const auto config = load_file(file.path());
  REQUIRE(config.has_value());
  CHECK(config->factory.use_template);
  CHECK(refusal("[hypervisor.qemu]\nlauncher = \"libvirt\"\n[factory]\ntemplate = \"auto\"\n")
            .find("template = \"off\"") != std::string::npos);
  CHECK(refusal("[factory]\nenable_template = true\n") ==
        "line 2: the key 'enable_template' is not supported in [factory]: the nearest known one is "
        "'template'");
}

TEST_CASE("templates are for ordinary memory") {
  CHECK(refusal("[hypervisor.qemu]\nenable_hugepages = true\n[factory]\ntemplate = \"auto\"\n")
            .find("template = \"off\"") != std::string::npos);
}

TEST_CASE("an empty file leaves the defaults, with the installed guest image") {
  const TemporaryFile file("");
  const auto config = load_file(file.path());
  REQUIRE(config.has_value());
  CHECK(config->hypervisor.path == "/usr/bin/qemu-system-x86_64");
  CHECK(config->hypervisor.default_memory_mib == 256);
  CHECK(config->hypervisor.kernel.native().ends_with("/share/kata-containers/vmlinux"));
  CHECK(config->hypervisor.initrd.native().ends_with("/share/kata-containers/kata-initrd.img"));
}

TEST_CASE("the file that is installed documents known keys and the defaults") {
  std::ifstream installed(KATA_DEFAULT_FILE);
  std::string text;
  for (std::string line; std::getline(installed, line);) {
    // "#key = value" is a default; "# text" explains. The guest image depends on the prefix.
    const bool is_default = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    if (line.find("<prefix>") == std::string::npos) text += is_default ? line.substr(1) : line;
    text += '\n';
  }
  REQUIRE(text.find("\ndefault_memory = 256") != std::string::npos);
  const TemporaryFile file(text);
  const auto config = load_file(file.path());
  INFO((config ? "" : config.error().message()));
  REQUIRE(config.has_value());
  const Config defaults;
  CHECK(config->hypervisor.path == defaults.hypervisor.path);
  CHECK(config->hypervisor.default_vcpus == defaults.hypervisor.default_vcpus);
  CHECK(config->hypervisor.default_memory_mib == defaults.hypervisor.default_memory_mib);
  CHECK(config->hypervisor.virtio_fs_cache == defaults.hypervisor.virtio_fs_cache);
  CHECK(config->hypervisor.accelerator == defaults.hypervisor.accelerator);
  CHECK(config->hypervisor.launcher == defaults.hypervisor.launcher);
  CHECK(config->hypervisor.libvirt_uri == defaults.hypervisor.libvirt_uri);
  CHECK(config->hypervisor.vsock == defaults.hypervisor.vsock);
  CHECK(config->agent.dial_timeout == defaults.agent.dial_timeout);
  CHECK(config->runtime.state_root == defaults.runtime.state_root);
  CHECK(config->factory.use_template == defaults.factory.use_template);
  CHECK(config->factory.template_path == defaults.factory.template_path);
  CHECK(config->hypervisor.enable_annotations == defaults.hypervisor.enable_annotations);
}

TEST_CASE("an unknown key is refused with its line and the nearest known key") {
  CHECK(refusal("[hypervisor.qemu]\n\ndefault_memroy = 256\n") ==
        "line 3: the key 'default_memroy' is not supported in [hypervisor.qemu]: the nearest known "
        "one is 'default_memory'");
  CHECK(refusal("[hypervisor.qemu]\nshared_fs = \"virtio-9p\"\n").starts_with("line 2: the key"));
  CHECK(refusal("[hypervisor.qemu]\nstate_root = \"/run/k\"\n") ==
        "line 2: the key 'state_root' is not supported in [hypervisor.qemu]: it belongs to "
        "[runtime]");
  CHECK(
      refusal("debug = true\n")
          .starts_with("line 1: the key 'debug' is not supported outside of tables: the nearest"));
}

TEST_CASE("an unknown table is refused with the nearest known one") {
  CHECK(refusal("[hypervisor.clh]\npath = \"/x\"\n") ==
        "line 1: the table [hypervisor.clh] is not supported: the nearest known one is "
        "[hypervisor.qemu]");
  CHECK(refusal("[factories]\n").find("the table [factories]") != std::string::npos);
}

TEST_CASE("wrong types and values are refused with what is allowed") {
  CHECK(refusal("[hypervisor.qemu]\ndefault_vcpus = \"2\"\n") ==
        "line 2: [hypervisor.qemu] default_vcpus must be a whole number");
  CHECK(refusal("[hypervisor.qemu]\ndefault_vcpus = 1.5\n")
            .ends_with("true or false, or a list of strings"));
  CHECK(
      refusal("[hypervisor.qemu]\ndefault_vcpus = [\"2\"]\n").ends_with("must be a whole number"));
  CHECK(refusal("[hypervisor.qemu]\nenable_annotations = [1]\n").ends_with("a list of strings"));
  CHECK(refusal("[hypervisor.qemu]\nenable_annotations = \"path\"\n")
            .ends_with("enable_annotations must be a list of strings"));
  CHECK(refusal("[hypervisor.qemu]\ndefault_vcpus = -1\n") ==
        "line 2: [hypervisor.qemu] default_vcpus is -1, must be from 1 to 240");
  CHECK(refusal("[hypervisor.qemu]\ndefault_memory = 1\n").ends_with("from 128 to 16777216 MiB"));
  CHECK(refusal("[hypervisor.qemu]\nseccompsandbox = \"on\"\n") ==
        "line 2: [hypervisor.qemu] seccompsandbox must be true or false");
  CHECK(refusal("[hypervisor.qemu]\naccel = \"xen\"\n") ==
        "line 2: [hypervisor.qemu] accel is 'xen', must be one of 'auto', 'kvm', 'tcg'");
  CHECK(refusal("[hypervisor.qemu]\nmachine_type = \"microvm\"\n").ends_with("one of 'q35'"));
  CHECK(refusal("[hypervisor.qemu]\nkernel = \"vmlinux\"\n").ends_with("an absolute path"));
  CHECK(refusal("[hypervisor.qemu]\nkernel_params = \"a\\nb\"\n").ends_with("control characters"));
  CHECK(refusal("[hypervisor.qemu]\nlibvirt_uri = \"qemu+ssh://a/system\"\n")
            .ends_with("'qemu:///system' or 'qemu:///system?socket=<path>'"));
  CHECK(refusal("[hypervisor.qemu]\nlauncher = \"libvirt\"\nvsock = \"kernel\"\n")
            .find("vsock = \"vhost-user\"") != std::string::npos);
  CHECK(refusal("[runtime]\nstate_root = \"/" + std::string(100, 'r') + "\"\n")
            .ends_with("unix sockets lie below it"));
  CHECK(refusal("[runtime]\nstate_root = \"/run/a, b\"\n").ends_with("must not contain a comma"));
  CHECK(refusal("[agent.kata]\ndial_timeout = 0\n").ends_with("from 1 to 3600 seconds"));
}

TEST_CASE("what is no TOML is refused with its line") {
  CHECK(refusal("[hypervisor.qemu]\npath = \n").starts_with("line 2: "));
  CHECK(refusal("[hypervisor.qemu]\npath = \"/a\"\npath = \"/b\"\n").starts_with("line 3: "));
}

TEST_CASE("a file that KATA_CONF_FILE names must exist") {
  ::setenv("KATA_CONF_FILE", "/nonexistent/configuration.toml", 1);
  const auto config = load_default();
  ::unsetenv("KATA_CONF_FILE");
  REQUIRE_FALSE(config.has_value());
  CHECK(config.error().code() == Code::kNotFound);
  CHECK(config.error().message().find("/nonexistent/configuration.toml") != std::string::npos);
}

TEST_CASE("edit distance") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("kernel", "") == 6);
  CHECK(edit_distance("kernal", "kernel") == 1);
  CHECK(edit_distance("memroy", "memory") == 2);
  CHECK(nearest("x", {}) == "");
}

}  // namespace
}  // namespace kata::config
