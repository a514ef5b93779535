#include "agent/isolation/namespaces.h"

#include <algorithm>
#include <array>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/base/unique_fd.h"

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
    {oci::NamespaceType::kMount, CLONE_NEWNS},
});

const oci::Namespace* find(const oci::Spec& spec, oci::NamespaceType type) {
  const auto& all = spec.linux.namespaces;
  auto entry = std::ranges::find(all, type, &oci::Namespace::type);
  return entry == all.end() ? nullptr : &*entry;
}

}  // namespace

Result<NamespacePlan> plan_namespaces(const oci::Spec& spec) {
  if (find(spec, oci::NamespaceType::kUser))
    return fail(Code::kUnimplemented, "linux.namespaces: user namespaces are not supported");
  if (find(spec, oci::NamespaceType::kTime))
    return fail(Code::kUnimplemented, "linux.namespaces: time namespaces are not supported");
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
  return plan;
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
  return {};
}

Status join_namespaces_of(int init_pidfd) {
  if (::setns(init_pidfd, CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS) == 0)
    return {};
  // Not "not found": there was one to join.
  if (errno == ESRCH) return fail(Code::kAborted, "join the container's namespaces: its init ends");
  return fail_call("join the container's namespaces");
}

}  // namespace kata::isolation
