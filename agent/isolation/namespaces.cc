#include "agent/isolation/namespaces.h"

#include <algorithm>
#include <array>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/base/unique_fd.h"
#include "common/sys/file.h"

namespace kata::isolation {

namespace {

struct Kind {
  oci::NamespaceType type;
  int flag;
};

// In the order of joining: the mount namespace last, since it changes what paths mean.
constexpr auto kKinds = std::to_array<Kind>({
    {oci::NamespaceType::kCgroup, CLONE_NEWCGROUP},
    {oci::NamespaceType::kIpc, CLONE_NEWIPC},
    {oci::NamespaceType::kUts, CLONE_NEWUTS},
    {oci::NamespaceType::kPid, CLONE_NEWPID},
    {oci::NamespaceType::kTime, CLONE_NEWTIME},
    {oci::NamespaceType::kMount, CLONE_NEWNS},
});

const oci::Namespace* find(const oci::Spec& spec, oci::NamespaceType type) {
  const auto& all = spec.linux.namespaces;
  auto entry = std::ranges::find(all, type, &oci::Namespace::type);
  return entry == all.end() ? nullptr : &*entry;
}

Status check_time_offsets(const oci::Spec& spec) {
  if (spec.linux.time_offsets.empty()) return {};
  const auto* wanted = find(spec, oci::NamespaceType::kTime);
  if (!wanted)
    return fail(Code::kInvalidArgument,
                "linux.timeOffsets: time namespace offsets specified, but time namespace isn't "
                "enabled in the config");
  if (wanted->path.empty()) return {};
  return fail(Code::kInvalidArgument,
              "linux.timeOffsets: the offsets of a time namespace that is joined ({}) are fixed",
              wanted->path);
}

/// unshare(2) has made the namespace for children alone; its clocks can be set until somebody is in
/// it.
Status enter_new_time_namespace(const std::string& offsets) {
  if (!offsets.empty()) {
    auto written = sys::write_existing("/proc/self/timens_offsets", offsets);
    if (!written) return std::unexpected(written.error().with_stage("linux.timeOffsets"));
  }
  UniqueFd made(::open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC));
  if (!made) return fail_call("open the new time namespace");
  if (::setns(made.get(), CLONE_NEWTIME) < 0) return fail_call("enter the new time namespace");
  return {};
}

}  // namespace

Result<NamespacePlan> plan_namespaces(const oci::Spec& spec) {
  KATA_CHECK(check_time_offsets(spec));
  NamespacePlan plan;
  // Without its own, a container would see the pod's whole tree; hosts with cgroup v1 never ask.
  if (!find(spec, oci::NamespaceType::kCgroup)) plan.create |= CLONE_NEWCGROUP;
  for (const auto& kind : kKinds) {
    const auto* wanted = find(spec, kind.type);
    if (!wanted) continue;
    if (wanted->path.empty())
      plan.create |= kind.flag;
    else
      plan.join.push_back({kind.flag, wanted->path});
  }
  for (const auto& [clock, offset] : spec.linux.time_offsets)
    plan.time_offsets += fmt::format("{} {} {}\n", clock, offset.secs, offset.nanosecs);
  return plan;
}

int rarer_namespaces(const oci::Spec& spec) {
  int flags = 0;
  if (find(spec, oci::NamespaceType::kUser)) flags |= CLONE_NEWUSER;
  if (find(spec, oci::NamespaceType::kTime)) flags |= CLONE_NEWTIME;
  return flags;
}

Status refuse_agents_namespace(int own, int wanted, const std::string& path) {
  struct stat own_info {};
  struct stat wanted_info {};
  if (::fstat(own, &own_info) < 0 || ::fstat(wanted, &wanted_info) < 0)
    return fail_call(fmt::format("stat namespace {}", path));
  if (own_info.st_dev != wanted_info.st_dev || own_info.st_ino != wanted_info.st_ino) return {};
  return fail(Code::kPermissionDenied, "namespace {}: it is the agent's", path);
}

Status enter_namespaces(const NamespacePlan& plan) {
  // All paths are of the mount namespace that the process is about to leave.
  std::vector<std::pair<UniqueFd, const NamespacePlan::Join*>> opened;
  for (const auto& join : plan.join) {
    UniqueFd fd(::open(join.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_call(fmt::format("open namespace {}", join.path));
    if (join.flag == CLONE_NEWNS) {
      UniqueFd own(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
      if (!own) return fail_call("open our own mount namespace");
      KATA_CHECK(refuse_agents_namespace(own.get(), fd.get(), join.path));
    }
    opened.emplace_back(std::move(fd), &join);
  }
  for (const auto& [fd, join] : opened)
    if (::setns(fd.get(), join->flag) < 0)
      return fail_call(fmt::format("join namespace {}", join->path));
  if (plan.create != 0 && ::unshare(plan.create) < 0)
    return fail_call(fmt::format("unshare {:#x}", plan.create));
  if ((plan.create & CLONE_NEWTIME) != 0) return enter_new_time_namespace(plan.time_offsets);
  return {};
}

Status join_namespaces_of(int init_pidfd, int rarer) {
  constexpr int kAlways = CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS;
  if (::setns(init_pidfd, kAlways | rarer) < 0) {
    // Not "not found": there was one to join.
    if (errno == ESRCH)
      return fail(Code::kAborted, "join the container's namespaces: its init ends");
    return fail_call("join the container's namespaces");
  }
  if ((rarer & CLONE_NEWUSER) == 0) return {};
  if (::setresgid(0, 0, 0) < 0 || ::setresuid(0, 0, 0) < 0)
    return fail_call("become root of the container's user namespace");
  return {};
}

}  // namespace kata::isolation
