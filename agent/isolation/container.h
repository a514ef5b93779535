// The recipe of a container, for its init process: a fresh, single-threaded process, root in the
// guest, in the container's cgroup (cgroup.h), with a descriptor table of its own.
//
// Legal call order, each once:
//   plan_namespaces, enter_namespaces     namespaces.h; then the process is pid 1 of its namespace,
//                                         and root of its user namespace (spawn.h)
//   prepare_container                     mounts, devices, names; createContainer hooks; "/"
//                                         becomes the container's
//   (or, for a further process of a running container: join_container)
//   become_process                        limits, user, capabilities, cwd: no way back
//   (wait for the order to start)
//   run_start_hooks                       hooks.h; for an init
//   exec_process                          returns only if it fails
// After a failure the process reports it and exits; the namespaces die with it and undo the rest.
//
// Of the guest is expected: PID 1 has called make_root_pivotable (rootfs.h) at boot, and /proc is
// mounted until prepare_container returns. Messages follow runc's where a user would see them.
// Nothing here writes to stdout or stderr.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/isolation/hooks.h"
#include "agent/isolation/prepared_mounts.h"
#include "agent/isolation/security_label.h"
#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// Builds the container's view of the system below `rootfs`, an absolute directory of the guest,
/// and makes it "/". Needs a mount namespace of its own (a spec without one is InvalidArgument);
/// host and domain name, sysctls and cgroup mounts take the namespaces of the spec. Applies
/// oomScoreAdj, makes process.cwd where it is missing. Afterwards the umask is 0022 and the working
/// directory "/". Returns the master of process.terminal, the caller's controlling terminal and
/// stdio then (see terminal.h; setsid(2) comes before); nothing without one.
/// `prepared` is from prepare_mounts(); with a root in it, `rootfs` is not looked at.
Result<UniqueFd> prepare_container(const oci::Spec& spec, const std::string& rootfs,
                                   const ContainerInfo& info = {}, PreparedMounts prepared = {});

/// Makes the caller, which was born in the container's control group and pid namespace, a process
/// of a running container, whose init `init_pidfd` refers to. Applies oomScoreAdj and
/// execCPUAffinity. `namespaces`: see join_namespaces_of(). Afterwards the working directory is
/// "/". Returns what prepare_container does.
Result<UniqueFd> join_container(const oci::Process& process, int init_pidfd,
                                const std::string& container_id, int namespaces = 0);

/// What a process takes over from its container.
struct Inheritance {
  std::string filter;  // seccomp.h; empty: none
  std::optional<oci::Personality> personality;
};

/// What become_process found to be executed.
struct ExecTarget {
  std::string path;
  std::vector<std::string> args;
  std::vector<std::string> env;  // the process's own, HOME added where missing
  std::string filter;            // of Inheritance
  SecurityLabel label;
};

/// Takes the scheduling, umask, limits, cwd, user, groups and capabilities of `process`, the
/// personality of its container, and looks its executable up in the PATH of its own env. With a
/// seccomp `filter` and without no_new_privs the caller has CAP_SYS_ADMIN, too, until its execve:
/// the kernel wants it for the filter. Descriptors stay open; who owns stdio is the caller's
/// business. NotFound, PermissionDenied with runc's texts, e.g. `exec: "nosuch": executable file
/// not found in $PATH`.
Result<ExecTarget> become_process(const oci::Process& process, Inheritance container = {});

/// execve(2) keeps blocked and ignored signals, which are the agent's business: all to their
/// defaults, and unblocked.
void reset_signals();

/// As execve(2) takes them, with a null at the end; valid as long as `strings`.
std::vector<char*> as_pointers(const std::vector<std::string>& strings);

/// execve(2), with all signals at their defaults and unblocked. All descriptors from 3 on are
/// marked close-on-exec first, so that on failure the caller still has its sync socket. The label
/// is applied and the filter installed just before, so that it need allow no call of ours but
/// execve. Returns the error.
Error exec_process(const ExecTarget& target);

}  // namespace kata::isolation
