#include <algorithm>
#include <array>

#include "common/oci/json_reader.h"
#include "common/oci/parse.h"

namespace kata::oci {

namespace {

constexpr auto kCapabilities = std::to_array<std::string_view>({
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
});

using Paths = std::vector<std::string>;

void note(Paths& out, bool asked_for, std::string path) {
  if (asked_for) out.push_back(std::move(path));
}

void note_process(Paths& out, const Process& process) {
  note(out, !process.apparmor_profile.empty(), "process.apparmorProfile");
  note(out, !process.selinux_label.empty(), "process.selinuxLabel");
  note(out, process.scheduler.has_value(), "process.scheduler");
  note(out, process.io_priority.has_value(), "process.ioPriority");
  note(out, process.exec_cpu_affinity.has_value(), "process.execCPUAffinity");
}

/// runc ignores capabilities that it does not know, with a warning; so do we.
void note_unknown_capabilities(Paths& out, const Capabilities& sets) {
  Paths unknown;
  for (const auto* set :
       {&sets.bounding, &sets.effective, &sets.inheritable, &sets.permitted, &sets.ambient})
    for (const auto& name : *set)
      if (std::ranges::find(kCapabilities, name) == kCapabilities.end() &&
          std::ranges::find(unknown, name) == unknown.end())
        unknown.push_back(name);
  for (const auto& name : unknown)
    out.push_back(fmt::format("process.capabilities: unknown {}", quote(name)));
}

void note_hooks(Paths& out, const Hooks& hooks) {
  note(out, !hooks.prestart.empty(), "hooks.prestart");
  note(out, !hooks.create_runtime.empty(), "hooks.createRuntime");
  note(out, !hooks.create_container.empty(), "hooks.createContainer");
  note(out, !hooks.start_container.empty(), "hooks.startContainer");
  note(out, !hooks.poststart.empty(), "hooks.poststart");
  note(out, !hooks.poststop.empty(), "hooks.poststop");
}

void note_resources(Paths& out, const Resources& resources) {
  const auto& memory = resources.memory;
  const auto& cpu = resources.cpu;
  const std::string prefix = "linux.resources.";
  note(out, !resources.devices.empty(), prefix + "devices");
  note(out, memory.kernel.has_value(), prefix + "memory.kernel");
  note(out, memory.kernel_tcp.has_value(), prefix + "memory.kernelTCP");
  note(out, memory.swappiness.has_value(), prefix + "memory.swappiness");
  note(out, memory.disable_oom_killer.value_or(false), prefix + "memory.disableOOMKiller");
  note(out, memory.check_before_update.value_or(false), prefix + "memory.checkBeforeUpdate");
  note(out, cpu.burst_us.has_value(), prefix + "cpu.burst");
  note(out, cpu.realtime_runtime_us.value_or(0) != 0, prefix + "cpu.realtimeRuntime");
  note(out, cpu.realtime_period_us.value_or(0) != 0, prefix + "cpu.realtimePeriod");
  note(out, !cpu.cpus.empty(), prefix + "cpu.cpus");
  note(out, !cpu.mems.empty(), prefix + "cpu.mems");
  note(out, cpu.idle.value_or(0) != 0, prefix + "cpu.idle");
  const auto& io = resources.block_io;
  note(out,
       io.weight || io.leaf_weight || !io.weight_device.empty() || !io.throttle_read_bps.empty() ||
           !io.throttle_write_bps.empty() || !io.throttle_read_iops.empty() ||
           !io.throttle_write_iops.empty(),
       prefix + "blockIO");
  note(out, !resources.hugepage_limits.empty(), prefix + "hugepageLimits");
  note(out, resources.network.class_id || !resources.network.priorities.empty(),
       prefix + "network");
  note(out, !resources.rdma.empty(), prefix + "rdma");
  note(out, !resources.unified.empty(), prefix + "unified");
}

void note_linux(Paths& out, const Linux& linux) {
  note(out, !linux.uid_mappings.empty(), "linux.uidMappings");
  note(out, !linux.gid_mappings.empty(), "linux.gidMappings");
  note(out, !linux.time_offsets.empty(), "linux.timeOffsets");
  note(out, linux.seccomp.has_value(), "linux.seccomp");
  note(out, !linux.mount_label.empty(), "linux.mountLabel");
  note(out, linux.personality.has_value(), "linux.personality");
  note(out, linux.intel_rdt, "linux.intelRdt");
  note_resources(out, linux.resources);
}

}  // namespace

std::vector<std::string> not_enforced(const Process& process) {
  Paths out;
  note_process(out, process);
  if (process.capabilities) note_unknown_capabilities(out, *process.capabilities);
  return out;
}

std::vector<std::string> not_enforced(const Resources& resources) {
  Paths out;
  note_resources(out, resources);
  return out;
}

std::vector<std::string> not_enforced(const Spec& spec) {
  Paths out = not_enforced(spec.process);
  note_hooks(out, spec.hooks);
  note_linux(out, spec.linux);
  return out;
}

}  // namespace kata::oci
