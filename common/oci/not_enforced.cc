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

/// Enough for every mistake; a specification of megabytes may have a million.
constexpr size_t kMaxNamed = 16;

/// runc ignores capabilities that it does not know, with a warning; so do we.
void note_unknown_capabilities(Paths& out, const Capabilities& sets) {
  Paths unknown;
  for (const auto* set :
       {&sets.bounding, &sets.effective, &sets.inheritable, &sets.permitted, &sets.ambient})
    for (const auto& name : *set)
      if (unknown.size() < kMaxNamed &&
          std::ranges::find(kCapabilities, name) == kCapabilities.end() &&
          std::ranges::find(unknown, name) == unknown.end())
        unknown.push_back(name);
  for (const auto& name : unknown)
    out.push_back(fmt::format("process.capabilities: unknown {}", quote(name)));
}

/// What has no counterpart in cgroup v2 and changes nothing that a container could rely on; runc
/// ignores it there, too.
void note_resources(Paths& out, const Resources& resources) {
  const auto& memory = resources.memory;
  const std::string prefix = "linux.resources.memory.";
  note(out, memory.kernel.has_value(), prefix + "kernel");
  note(out, memory.kernel_tcp.has_value(), prefix + "kernelTCP");
  note(out, memory.swappiness.has_value(), prefix + "swappiness");
  note(out, !memory.use_hierarchy.value_or(true), prefix + "useHierarchy");
}

void note_linux(Paths& out, const Linux& linux) { note_resources(out, linux.resources); }

}  // namespace

std::vector<std::string> not_enforced(const Process& process) {
  Paths out;
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
  note_linux(out, spec.linux);
  return out;
}

}  // namespace kata::oci
