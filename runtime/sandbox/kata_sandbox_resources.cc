// The part of KataSandbox that is about a container as a whole: what it uses and whether it may
// run.
#include <utility>

#include <sys/statvfs.h>

#include "common/log/log.h"
#include "common/oci/parse.h"
#include "runtime/sandbox/kata_sandbox.h"
#include "runtime/sandbox/pod_rules.h"

namespace kata::sandbox {

Async<std::vector<ContainerProcess>> KataSandbox::pids(std::string id) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ContainerPtr container, find(id));
  std::vector<ContainerProcess> processes;
  // As with runc, a container that has ended has no processes rather than an error.
  if (container->init->exited.is_set()) co_return processes;
  KATA_CO_TRY(auto vm, running_vm());
  KATA_CO_TRY(const std::vector<uint32_t> pids, co_await vm->agent().list_processes(id));
  for (uint32_t pid : pids) processes.push_back({.pid = pid, .exec_id = {}});
  for (const auto& [exec_id, exec] : container->execs)
    for (ContainerProcess& process : processes)
      if (process.pid == exec->guest_pid && exec->runs()) process.exec_id = exec_id;
  co_return processes;
}

Async<void> KataSandbox::pause(std::string id) { return set_paused(std::move(id), true); }

Async<void> KataSandbox::resume(std::string id) { return set_paused(std::move(id), false); }

/// One at a time for a container: a pause is over when everything stands still, for which it would
/// wait in vain if something let it go on meanwhile.
Async<void> KataSandbox::set_paused(std::string id, bool wanted) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ContainerPtr container, find(id));
  while (container->pausing) {
    const sys::Event done = *container->pausing;
    co_await done.wait();
  }
  sys::Event done(executor_);
  container->pausing = done;
  Status changed = co_await change_paused(container, wanted);
  container->pausing.reset();
  done.set();
  co_return changed;
}

Async<void> KataSandbox::change_paused(ContainerPtr container, bool wanted) {
  KATA_CO_CHECK(check_runs(*container, wanted ? "pause" : "resume"));
  if (container->paused == wanted)
    co_return fail(Code::kFailedPrecondition, "cannot {}",
                   wanted ? "pause a paused container" : "resume a running process");
  KATA_CO_TRY(auto vm, running_vm());
  if (wanted) {
    KATA_CO_CHECK(co_await vm->agent().pause_container(container->id));
  } else {
    KATA_CO_CHECK(co_await vm->agent().resume_container(container->id));
  }
  container->paused = wanted;
  co_return Status{};
}

Status KataSandbox::check_runs(const Container& container, std::string_view what) const {
  if (container.init->exited.is_set())
    return fail(Code::kFailedPrecondition, "cannot {} a stopped container", what);
  if (!container.init->runs())
    return fail(Code::kFailedPrecondition, "cannot {} a created container", what);
  return {};
}

/// One at a time: room in the VM is made for one, and taken by it.
Async<void> KataSandbox::update(std::string id, std::string resources_json) {
  auto self = shared_from_this();
  while (updating_) {
    const sys::Event other = *updating_;
    co_await other.wait();
  }
  sys::Event done(executor_);
  updating_ = done;
  Status updated = co_await update_alone(std::move(id), std::move(resources_json));
  updating_.reset();
  done.set();
  co_return updated;
}

Async<void> KataSandbox::update_alone(std::string id, std::string resources_json) {
  KATA_CO_TRY(const ContainerPtr container, find(id));
  if (container->init->exited.is_set())
    co_return fail(Code::kFailedPrecondition, "cannot update a stopped container");
  KATA_CO_TRY(const oci::Resources resources, oci::parse_resources(resources_json));
  KATA_CO_TRY(auto vm, running_vm());
  const ContainerLimits before = container->limits;
  const Demand had = demand();
  container->limits.update(resources);
  const bool grows = larger_of(had, demand()) != had;
  Status updated;
  if (grows) updated = co_await grow_vm(had);
  if (updated) {
    resources_json = container->filter.of_resources(std::move(resources_json));
    updated = co_await vm->agent().update_container(container->id, resources_json);
  }
  if (!updated) {
    container->limits = before;
    // What was asked for in vain is given back; the error is the first one.
    if (grows) (void)co_await vm->resize(demand());
    co_return updated;
  }
  // From now on the containers' limits say it all.
  announced_ = {};
  if (larger_of(had, demand()) == demand()) co_return Status{};
  // What the container has no use for any more goes back to the host, if the guest can give it: the
  // limit holds already.
  KATA_CO_CHECK(co_await vm->resize(demand()));
  co_return co_await vm->await_memory();
}

/// For limits that have become larger: when this answers, the room is there.
Async<void> KataSandbox::grow_vm(Demand had) {
  auto vm = vm_;
  const bool more_memory = demand().memory_mib > had.memory_mib;
  if (more_memory) KATA_CO_CHECK(vm->check_room(demand()));
  KATA_CO_CHECK(co_await vm->grow(demand()));
  if (more_memory) KATA_CO_CHECK(co_await vm->await_memory());
  co_return Status{};
}

/// As large as CRI has made it on the host.
uint64_t shm_bytes(const oci::Spec& spec) {
  for (const oci::Mount& mount : spec.mounts) {
    struct statvfs info;
    if (is_pods_shm(mount, spec) && statvfs(mount.source.c_str(), &info) == 0)
      return uint64_t{info.f_blocks} * info.f_frsize;
  }
  return 0;
}

Result<VmWanted> KataSandbox::wanted_vm(const oci::Spec& spec, const ContainerLimits& limits) {
  VmWanted wanted;
  wanted.hostname = spec.hostname;
  wanted.shm_bytes = shm_bytes(spec);
  wanted.cgroups_path = spec.linux.cgroups_path;
  wanted.demand = limits.demand();
  if (!is_of_cri(spec)) return wanted;
  // Its containers, and what kubelet makes of their limits, are still to come.
  wanted.resizable = true;
  if (boot_) return wanted;
  KATA_TRY(announced_, announced_demand(spec.annotations));
  wanted.demand = larger_of(announced_, wanted.demand);
  return wanted;
}

/// What all containers together may use.
Demand KataSandbox::demand() const {
  Demand sum;
  for (const auto& [id, container] : containers_)
    if (!container->init->exited.is_set()) sum = sum + container->limits.demand();
  return larger_of(sum, announced_);
}

/// For a container that comes. Memory is on its way when this answers; what containers that have
/// ended leave stays, so that a restart costs nothing.
Async<void> KataSandbox::make_room() {
  KATA_CO_TRY(auto vm, running_vm());
  if (auto fits = vm->check_room(demand()); !fits)
    log::warning("the VM is smaller than its containers' limits",
                 {{"why", fits.error().message()}});
  co_return co_await vm->grow(demand());
}

Async<std::string> KataSandbox::metrics(std::string id) {
  auto self = shared_from_this();
  KATA_CO_TRY(const ContainerPtr container, find(id));
  KATA_CO_TRY(auto vm, running_vm());
  co_return co_await vm->agent().metrics(id);
}

asio::awaitable<void> KataSandbox::watch_oom(ProcessPtr init) {
  auto self = shared_from_this();
  auto vm = vm_;
  for (uint64_t seen = 0;;) {
    auto kills = co_await vm->agent().wait_oom(init->container_id, seen);
    // The container is deleted, or the VM has gone: others report that.
    if (!kills) co_return;
    // A guest that answers without news would keep us busy.
    if (*kills <= seen) {
      log::error("the agent reports OOM kills that are none", {{"container", init->container_id}});
      co_return;
    }
    seen = *kills;
    on_oom_(init->container_id);
  }
}

}  // namespace kata::sandbox
