#include <sys/mount.h>

#include "common/log/log.h"
#include "common/sys/mount.h"
#include "common/sys/mountinfo.h"
#include "common/sys/pidfd.h"
#include "runtime/hypervisor/vm_processes.h"
#include "runtime/sandbox/host_cgroup.h"
#include "runtime/sandbox/host_oom.h"
#include "runtime/sandbox/state.h"

namespace kata::sandbox {
namespace {

constexpr std::chrono::seconds kKillTimeout{5};

Status end_processes(const State& state) {
  // The VM first: virtiofsd ends by itself when QEMU closes its connection. Ending QEMU also ends a
  // libvirt domain: the daemon sees its monitor close and forgets the transient domain.
  std::vector<sys::ProcessIdentity> processes;
  processes.push_back({state.vm.pid, state.vm.pid_start_time});
  for (const HelperProcess& helper : state.helpers)
    processes.push_back({helper.pid, helper.start_time});
  for (const sys::ProcessIdentity& process : processes) {
    if (process.pid <= 0) continue;
    if (auto ended = sys::end_process(process, kKillTimeout); !ended)
      return std::unexpected(ended.error().with_stage("sandbox cleanup"));
  }
  return {};
}

/// A shim that was killed right after it had started its VM has not written that down.
Status end_unrecorded_vm(const std::filesystem::path& run_dir) {
  auto ended = hypervisor::end_stray_vms(run_dir, kKillTimeout);
  if (!ended) return std::unexpected(ended.error().with_stage("sandbox cleanup"));
  return {};
}

/// Mount points at and below `directory` in this process's mount namespace, outermost first.
Result<std::vector<std::string>> mount_points_below(const std::filesystem::path& directory) {
  KATA_TRY(const auto mounts, sys::read_mounts());
  std::vector<std::string> found;
  for (const sys::MountInfo& mount : mounts)
    if (sys::is_at_or_below(mount.mount_point, directory.native()))
      found.push_back(mount.mount_point);
  return found;
}

Status unmount_below(const std::filesystem::path& directory) {
  KATA_TRY(const std::vector<std::string> mounts, mount_points_below(directory));
  for (auto mount = mounts.rbegin(); mount != mounts.rend(); ++mount) {
    auto unmounted = sys::unmount(*mount, /*detach=*/true);
    if (!unmounted && unmounted.error().code() != Code::kNotFound)
      return std::unexpected(unmounted.error().with_stage("sandbox cleanup"));
  }
  // What follows deletes everything below: nothing of a container may still be mounted there.
  KATA_TRY(const std::vector<std::string> left, mount_points_below(directory));
  if (!left.empty())
    return fail(Code::kFailedPrecondition, "sandbox cleanup: {} is still mounted", left.front());
  return {};
}

}  // namespace

Status remove_leftovers(const std::filesystem::path& run_dir) {
  std::error_code error;
  if (!std::filesystem::exists(run_dir, error)) return {};
  bool vm_is_known = false;
  std::vector<std::filesystem::path> groups;
  if (auto state = load_state(run_dir)) {
    KATA_CHECK(end_processes(*state));
    vm_is_known = state->vm.pid > 0;
    groups = std::move(state->cgroups);
  } else if (state.error().code() != Code::kNotFound) {
    // A state that cannot be read must not keep the rest from being removed.
    log::warning("sandbox cleanup", {{"error", state.error().message()}});
  }
  if (!vm_is_known) KATA_CHECK(end_unrecorded_vm(run_dir));
  KATA_CHECK(unmount_below(run_dir));
  std::filesystem::remove_all(run_dir, error);
  if (error)
    return fail_errno(fmt::format("sandbox cleanup: remove {}", run_dir.native()), error.value());
  // The shim itself may have been among them.
  if (const auto oom_kill = describe_oom_kill(groups))
    log::error("sandbox cleanup", {{"reason", *oom_kill}});
  if (Status removed = remove_groups(groups); !removed)
    log::warning("sandbox cleanup", {{"error", removed.error().message()}});
  return {};
}

}  // namespace kata::sandbox
