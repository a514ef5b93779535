// A VM as a plain value, and the interface of what starts one.
//
// Launchers: direct (QEMU's argv and a QMP socket, the default), libvirt (domain XML, a module that
// is loaded only when configured), fake (tests). After the launch all of them answer through Vm.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include "common/sys/async.h"
#include "runtime/hypervisor/device.h"

namespace kata::hypervisor {

/// Functions of a slot: PCI 3.0, section 3.2.2.3.4.
inline constexpr size_t kDevicesPerPort = 8;

enum class Accelerator { kKvm, kTcg };

struct VmConfig {
  /// Shown in process titles and libvirt; a valid id.
  std::string name;
  Accelerator accelerator = Accelerator::kTcg;
  std::filesystem::path qemu_path;
  std::string machine_type = "q35";
  std::filesystem::path kernel;
  std::filesystem::path initrd;
  std::string kernel_command_line;
  uint32_t vcpus = 1;
  uint64_t memory_mib = 256;
  /// What Vm::plug_vcpus() may reach; not more than `vcpus`: they are all there will be.
  uint32_t max_vcpus = 0;
  /// What the guest's memory may become with a HotMemory in the VM; not more than `memory_mib`:
  /// there will be none.
  uint64_t max_memory_mib = 0;
  /// All memory in huge pages of the host, of kHotMemoryBlockMib, which it must have free.
  bool hugepages = false;
  /// A balloon by which the guest tells of free pages, and QEMU gives them back to the host
  /// (virtio 1.2, section 5.5.6.7).
  bool free_page_reporting = false;
  /// QEMU's seccomp sandbox.
  bool seccomp_sandbox = true;
  /// pcie-root-ports. With any, `devices` are the functions of one slot in port 0, and the other
  /// ports are free for Vm::attach(). Each costs a guest that boots some milliseconds.
  uint32_t hotplug_ports = 0;
  /// A memfd of `memory_mib` that becomes the guest's RAM, borrowed until launch() has answered;
  /// -1: QEMU makes one. A VM that is to be saved, or that continues a saved one, needs it.
  int memory_fd = -1;
  /// Launches a VM that has not booted and stands still, for restore(): same memory, vCPUs and
  /// ports as the one that was saved, RAM in memory_fd, no devices. `kernel` and `initrd` are not
  /// read.
  bool for_restore = false;
  /// Directory of the sandbox on the host, mode 0700, owned by the caller; short, because sockets
  /// live in it (sun_path has 108 bytes).
  std::filesystem::path run_dir;
  /// Unix socket on which the caller already listens for the guest's serial console.
  std::filesystem::path console_socket;
  std::vector<Device> devices;
};

/// What persisted state needs to find and end a VM after the process that launched it has died.
struct VmIdentity {
  pid_t pid = -1;
  /// Field 22 of /proc/<pid>/stat (clock ticks after boot), so that a reused pid is told apart.
  uint64_t pid_start_time = 0;
  /// libvirt only: connection URI and domain UUID; empty for direct.
  std::string libvirt_uri;
  std::string libvirt_uuid;
};

/// How QEMU has ended.
struct VmEnd {
  /// "exited with status 1: <last lines of QEMU's stderr>", "killed by signal 9".
  std::string reason;
  /// By SIGKILL: the runtime itself, an administrator or the OOM killer, but nothing in the VM.
  bool killed = false;
};

/// A launched VM. Used on one executor. Destroying a Vm that still runs kills it (SIGKILL or
/// virDomainDestroy) without waiting for the guest.
class Vm {
 public:
  virtual ~Vm() = default;

  virtual const VmIdentity& identity() const = 0;

  /// Completes when QEMU has ended, with what is known of why. Any number of waiters; also after
  /// the end.
  virtual Async<VmEnd> wait_exit() = 0;

  /// Ends the VM at once; completes when QEMU is gone. A VM that has ended is no error.
  virtual Async<void> stop() = 0;

  // Hotplug, and VMs that are saved and continued. Unimplemented: this launcher's VMs cannot.

  /// Puts devices, at most kDevicesPerPort, into a free root port, as the functions of one slot:
  /// the guest hears of all of them at once. Completes when QEMU has them; the guest finds them by
  /// itself. After an error the port is empty again if it was one device, and counts as
  /// taken if they were several.
  virtual Async<void> attach(std::vector<Device> devices, uint32_t port);
  /// Empties a root port. Completes when the guest has let go of all that is in it, and QEMU of
  /// their files. DeadlineExceeded: the guest keeps it. Unavailable: QEMU has ended.
  virtual Async<void> detach(uint32_t port);

  /// Plugs processors until there are so many; more are fine. Completes when QEMU has them: a guest
  /// does not use new ones by itself. InvalidArgument: more than VmConfig::max_vcpus. Calls must
  /// not overlap. There is no way back: QEMU 7.2 does not survive under TCG that a place is used
  /// twice, so the guest switches processors off.
  virtual Async<void> plug_vcpus(uint32_t count);
  /// Asks the guest to take so much of its HotMemory, a multiple of kHotMemoryBlockMib, or to give
  /// back what is more. Completes when QEMU has noted it.
  virtual Async<void> request_memory(uint64_t mib);
  /// Completes when the guest has what it was asked to have last, meanwhile perhaps.
  /// DeadlineExceeded, with how much it has: it did not take it, or give it back, within `limit`.
  virtual Async<void> await_memory(std::chrono::seconds limit);

  // After an error of these the VM is good for nothing but stop().

  /// Stops the guest and writes the state of everything but its RAM to `device_state_fd`, a file,
  /// borrowed until this has answered. The guest stands still from then on: its RAM in
  /// VmConfig::memory_fd belongs to that state.
  virtual Async<void> save(int device_state_fd);
  /// The other way, once, for a VM launched with VmConfig::for_restore and RAM as it was saved. The
  /// guest stands still until resume().
  virtual Async<void> restore(int device_state_fd);
  virtual Async<void> resume();
};

class Launcher {
 public:
  virtual ~Launcher() = default;

  /// Completes when QEMU runs and its monitor has answered (the guest may still be booting).
  /// NotFound: the QEMU binary, kernel or initrd is missing (the message names path and remedy).
  /// ResourceExhausted: memory. Unavailable: QEMU ended at once; the message holds its stderr.
  /// Aborted: by SIGKILL (VmEnd::killed).
  virtual Async<std::unique_ptr<Vm>> launch(const VmConfig& config) = 0;
};

}  // namespace kata::hypervisor
