// The runtime's settings: compiled-in defaults, overlaid by configuration.toml (Kata's keys of the
// QEMU hypervisor). A key that is not supported is refused with its name and the nearest known one.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/error/error.h"
#include "common/log/log.h"

namespace kata::config {

enum class AcceleratorChoice { kAuto, kKvm, kTcg };
enum class LauncherChoice { kDirect, kLibvirt };
enum class VsockChoice { kAuto, kKernel, kVhostUser };

struct Hypervisor {                                            // [hypervisor.qemu]
  std::filesystem::path path = "/usr/bin/qemu-system-x86_64";  // path
  std::filesystem::path kernel;       // kernel (default: installed beside the runtime)
  std::filesystem::path initrd;       // initrd
  std::string machine_type = "q35";   // machine_type
  std::string kernel_params;          // kernel_params, appended to ours
  uint32_t default_vcpus = 1;         // default_vcpus
  uint64_t default_memory_mib = 256;  // default_memory, MiB
  /// What the limits of a pod's containers may make of these; 0: what the host has.
  uint32_t default_maxvcpus = 0;           // default_maxvcpus
  uint64_t default_maxmemory_mib = 0;      // default_maxmemory, MiB
  std::filesystem::path virtio_fs_daemon;  // virtio_fs_daemon (default: the first found)
  std::string virtio_fs_cache = "auto";    // virtio_fs_cache: never|auto|always
  /// A root on a block device or in an image file is shared like any other, too.
  bool disable_block_device_use = false;  // disable_block_device_use
  bool seccomp_sandbox = true;            // seccompsandbox
  /// The VM's memory is of huge pages of the host (2 MiB), which it must have free.
  bool enable_hugepages = false;  // enable_hugepages
  /// What the guest frees goes back to the host (free page reporting of virtio-balloon).
  bool reclaim_guest_freed_memory = false;  // reclaim_guest_freed_memory
  /// The profiles and labels that clients name are of the host's policies, which no guest has.
  bool disable_guest_apparmor = true;                        // disable_guest_apparmor
  bool disable_guest_selinux = true;                         // disable_guest_selinux
  AcceleratorChoice accelerator = AcceleratorChoice::kAuto;  // accel
  LauncherChoice launcher = LauncherChoice::kDirect;         // launcher: direct|libvirt
  std::string libvirt_uri = "qemu:///embed";                 // libvirt_uri: embed, system
  /// With libvirt never the kernel's: auto becomes vhost-user.
  VsockChoice vsock = VsockChoice::kAuto;  // vsock: auto|kernel|vhost-user
  /// Which annotations of a pod count: regular expressions for the whole of the last component.
  std::vector<std::string> enable_annotations;  // enable_annotations
  /// Which paths annotations may name: patterns as of glob(3).
  std::vector<std::string> valid_hypervisor_paths;        // valid_hypervisor_paths
  std::vector<std::string> valid_virtio_fs_daemon_paths;  // valid_virtio_fs_daemon_paths
  std::vector<std::string> valid_kernel_paths;            // valid_kernel_paths
  std::vector<std::string> valid_initrd_paths;            // valid_initrd_paths
};

struct Agent {                            // [agent.kata]
  std::chrono::seconds dial_timeout{30};  // dial_timeout, seconds until the guest is ready
  bool debug = false;                     // enable_debug
};

struct Runtime {                             // [runtime]
  log::Level log_level = log::Level::kInfo;  // enable_debug
  /// Where sandboxes keep their sockets and state; short.
  std::filesystem::path state_root = "/run/kata";  // state_root
  /// Whether shim, QEMU and virtiofsd are in the pod's control group of the host, or stay in that
  /// of containerd's shims.
  bool sandbox_cgroup_only = true;  // sandbox_cgroup_only
};

struct Factory {              // [factory]
  bool use_template = false;  // template: off|auto
  /// Where templates are kept, 0700; on a file system that a boot of the host empties.
  std::filesystem::path template_path = "/run/kata-template";  // template_path
};

struct Config {
  Hypervisor hypervisor;
  Agent agent;
  Runtime runtime;
  Factory factory;
  /// The file that was read; empty when only defaults hold.
  std::filesystem::path source;
  /// Those that were read after it, in their order.
  std::vector<std::filesystem::path> drop_ins;
  /// A pod's annotations have changed something.
  bool is_annotated = false;
};

/// All files of it, for people: "/etc/…/configuration.toml, /etc/…/config.d/50-mine.toml", or
/// "defaults".
std::string describe_sources(const Config& config);

/// Reads `file` and over it its drop-ins, config.d/*.toml in the same directory (of the file
/// itself, where `file` is a symbolic link), in the order of their names. InvalidArgument names the
/// file, the line, the key and what is allowed.
Result<Config> load_file(const std::filesystem::path& file);

/// What single keys cannot know of each other. Also after changes of a Config that was loaded.
Status check_together(Config& config);

/// $KATA_CONF_FILE when it is set: the file must exist. Else the first that exists of:
/// /etc/kata-containers/configuration.toml,
/// <prefix>/share/defaults/kata-containers/configuration.toml where <prefix>/bin holds the running
/// executable, /usr/share/defaults/kata-containers/configuration.toml. None: the defaults. Kernel
/// and initrd default to <prefix>/share/kata-containers/{vmlinux,kata-initrd.img}.
Result<Config> load_default();

}  // namespace kata::config
