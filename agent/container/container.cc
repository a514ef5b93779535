#include "agent/container/container.h"

#include <chrono>
#include <utility>

#include <sched.h>
#include <signal.h>

#include "agent/container/exec_process.h"
#include "agent/container/hook_bundle.h"
#include "agent/isolation/namespaces.h"
#include "agent/isolation/prepared_mounts.h"
#include "agent/isolation/seccomp.h"
#include "agent/isolation/sysctl.h"
#include "agent/sandbox/modules.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/log/log.h"
#include "common/oci/parse.h"

namespace kata::container {
namespace {

using namespace std::chrono_literals;

// How long killed processes may take to vanish; only one stuck in the kernel takes longer.
constexpr auto kDeathTimeout = 10s;
// How long processes may take to reach a point where they can stand still.
constexpr auto kFreezeTimeout = 10s;
// For a process that the container itself can stop; far more than a slow machine needs.
constexpr auto kExecAnswerTimeout = 60s;

// How long an init that takes its namespaces with it may need to be reaped.
constexpr auto kInitEndTimeout = 1s;

/// The end of the init fails an exec at any point: no process can be born in its pid namespace
/// (ENOMEM), its namespaces cannot be joined, or the exec is killed.
bool is_the_requests_fault(Code code) {
  return code == Code::kNotFound || code == Code::kPermissionDenied ||
         code == Code::kInvalidArgument;
}

void log_not_enforced(const std::string& what, const std::vector<std::string>& keys) {
  if (keys.empty()) return;
  log::warning("parts of the spec are not applied",
               {{"process", what}, {"keys", fmt::format("{}", fmt::join(keys, " "))}});
}

Result<oci::Spec> parse_request(const CreateRequest& request) {
  KATA_CHECK(validate_id("container id", request.id));
  if (!request.root_disks && !request.rootfs.starts_with('/')) {
    return fail(Code::kInvalidArgument, "rootfs \"{}\" is not an absolute path", request.rootfs);
  }
  if (!request.bundle.empty() && !request.bundle.starts_with('/')) {
    return fail(Code::kInvalidArgument, "bundle \"{}\" is not an absolute path", request.bundle);
  }
  KATA_TRY(oci::Spec spec, oci::parse_spec(request.spec_json));
  log_not_enforced("container " + request.id, oci::not_enforced(spec));
  return spec;
}

/// The kernel cannot call for a module itself: the guest has no modprobe.
Status load_file_systems(const oci::Spec& spec) {
  for (const auto& mount : spec.mounts) {
    if (mount.type == "overlay" || mount.type == "erofs" || mount.type == "ext4")
      KATA_CHECK(sandbox::load_module_on_demand(mount.type));
  }
  return {};
}

/// Where what it has of the host may be.
std::vector<std::string> used_paths(const CreateRequest& request, const oci::Spec& spec) {
  std::vector<std::string> paths;
  for (const oci::Mount& mount : spec.mounts) paths.push_back(mount.source);
  if (request.root_disks) paths.push_back(request.root_disks->upper);
  return paths;
}

}  // namespace

Container::Container(const Environment& environment, const CreateRequest& request,
                     const oci::Spec& spec, isolation::Cgroup cgroup)
    : environment_(environment),
      id_(request.id),
      init_settings_(spec.process),
      personality_(spec.linux.personality ? spec.linux.personality->domain : ""),
      cgroup_(std::move(cgroup)),
      checks_memory_usage_(spec.linux.resources.memory.check_before_update.value_or(false)),
      disk_mounts_(request.id),
      execs_(request.id),
      oom_watch_(std::make_shared<OomWatch>(environment.loop, cgroup_.path() / "memory.events",
                                            [this] { return cgroup_.oom_kills(); })) {}

Result<std::shared_ptr<Container>> Container::create(const Environment& environment,
                                                     CreateRequest request) {
  KATA_TRY(oci::Spec spec, parse_request(request));
  KATA_TRY(auto cgroup, isolation::Cgroup::create(request.id, environment.cgroup_root));
  std::shared_ptr<Container> container(
      new Container(environment, request, spec, std::move(cgroup)));
  CleanupStack cleanup;
  cleanup.add([&] {
    if (auto removed = container->kill_and_remove(); !removed) {
      log::error("leftovers of a failed create",
                 {{"container", request.id}, {"error", removed.error().message()}});
    }
  });
  KATA_CHECK(container->provide_volumes(request, spec));
  KATA_CHECK(container->cgroup_.apply(spec.linux.resources));
  KATA_CHECK(container->provide_hugepages(request, spec));
  KATA_CHECK(container->limit_devices(spec.linux.resources.devices));
  if (spec.linux.seccomp) {
    KATA_TRY(container->seccomp_filter_, isolation::compile_filter(*spec.linux.seccomp));
  }
  KATA_CHECK(load_file_systems(spec));
  KATA_CHECK(container->create_init(request, spec));
  cleanup.release();
  return container;
}

Result<std::string> Container::provide_root(const CreateRequest& request) {
  if (!request.root_disks) return request.rootfs;
  KATA_TRY(const auto root, storage::mount_root(*request.root_disks, disk_mounts_));
  return root.native();
}

Status Container::provide_volumes(CreateRequest& request, oci::Spec& spec) {
  if (!request.volumes.empty()) {
    KATA_TRY(volume_numbers_, storage::find_volumes(request.volumes));
    KATA_TRY(request.spec_json,
             storage::use_volumes(spec, request.spec_json, request.volumes, volume_numbers_,
                                  disk_mounts_, *environment_.given_volumes));
    KATA_TRY(spec, oci::parse_spec(request.spec_json));
  }
  storage::use_numbers(spec.linux.resources, volume_numbers_);
  return {};
}

Status Container::provide_hugepages(const CreateRequest& request, const oci::Spec& spec) {
  const auto& hugepages = environment_.hugepages;
  if (!hugepages) return {};
  KATA_CHECK(reserve_hugepages(spec.linux.resources.hugepage_limits));
  const bool has_volumes = !request.hugepage_volumes.empty();
  if (storage::wants_hugepages_on_demand(spec, has_volumes))
    KATA_CHECK(hugepages->make_on_demand());
  for (const storage::HugepageVolume& volume : request.hugepage_volumes)
    KATA_CHECK(hugepages->mount(volume));
  return {};
}

Status Container::reserve_hugepages(const std::vector<oci::HugepageLimit>& limits) {
  if (!environment_.hugepages || limits.empty()) return {};
  has_hugepages_ = true;
  return environment_.hugepages->reserve(id_, limits);
}

/// Once: later the id may be another container's.
void Container::release_hugepages() {
  if (has_hugepages_.exchange(false)) environment_.hugepages->release(id_);
}

Status Container::limit_devices(const std::vector<oci::DeviceRule>& rules) {
  KATA_TRY(const auto access, isolation::device_access(rules));
  return device_filter_.apply(access, cgroup_.descriptor());
}

uint64_t Container::oom_events(const std::weak_ptr<const Container>& weak) {
  auto self = weak.lock();
  return self ? self->cgroup_.oom_events() : 0;
}

Status Container::plan_own_ids(const oci::Spec& spec, ProcessRequest& wanted) {
  KATA_TRY(user_namespace_, isolation::plan_user_namespace(spec));
  if (!user_namespace_) return {};
  wanted.spawn.user_namespace = &*user_namespace_;
  wanted.spawn.oom_score_adj = spec.process.oom_score_adj.value_or(0);
  wanted.rlimits = spec.process.rlimits;
  KATA_CHECK(isolation::apply_network_sysctls(spec));
  const auto root_uid = isolation::host_id(user_namespace_->uids, 0);
  const bool delegated = root_uid && isolation::delegates_cgroup(spec);
  return delegated ? cgroup_.give_to(*root_uid) : Status{};
}

Status Container::create_init(const CreateRequest& request, const oci::Spec& spec) {
  KATA_TRY(auto plan, isolation::plan_namespaces(spec));
  ProcessRequest wanted;
  KATA_CHECK(plan_own_ids(spec, wanted));
  wanted.label = "container " + id_;
  wanted.role = "container init";
  wanted.stdio = request.stdio;
  wanted.terminal = spec.process.terminal;
  share_places_ = environment_.share_mounts->acquire(request.shares, used_paths(request, spec));
  KATA_TRY(const std::string rootfs, provide_root(request));
  rarer_namespaces_ = isolation::rarer_namespaces(spec);
  wanted.config.rootfs = rootfs;
  wanted.config.json = request.spec_json;
  wanted.config.filter = seccomp_filter_;
  wanted.config.namespaces = rarer_namespaces_;
  wanted.config.container = {id_, request.bundle, request.hook_programs};
  std::unique_ptr<HookBundle> bundle;  // for as long as the hooks run
  if (!spec.hooks.create_container.empty() && !request.bundle.empty()) {
    KATA_TRY(bundle, HookBundle::make(request.bundle, request.spec_json, spec.root.path, rootfs));
  }
  held_mounts_ = storage::HeldMounts::of_agent(id_, request.shares);
  KATA_TRY(wanted.mounts, isolation::prepare_mounts(spec, rootfs));
  wanted.uid = spec.process.user.uid;
  wanted.spawn.cgroup = cgroup_.descriptor();
  wanted.spawn.new_pid_namespace = (plan.create & CLONE_NEWPID) != 0;
  for (const auto& join : plan.join) {
    if (join.flag == CLONE_NEWPID) wanted.spawn.join_pid_namespace = join.path;
  }
  own_pid_namespace_ = wanted.spawn.new_pid_namespace;
  shares_agents_pid_namespace_ = !own_pid_namespace_ && wanted.spawn.join_pid_namespace.empty();
  wanted.count_oom = [weak = weak_from_this()] { return oom_events(weak); };
  wanted.at_end = [self = shared_from_this()](ProcessExit& exit) {
    exit.oom_killed = self->cgroup_.oom_kills().value_or(0) > 0;
    // With its pid namespace the kernel has killed everything else; without one, outputs would stay
    // open for as long as any stray process lives.
    if (self->own_pid_namespace_) return;
    if (auto killed = self->cgroup_.kill(); !killed) {
      log::error("processes left", {{"container", self->id_}, {"error", killed.error().message()}});
    }
  };
  KATA_TRY(init_, ContainerProcess::create(environment_, std::move(wanted)));
  KATA_TRY(held_mounts_, storage::HeldMounts::of(init_->pid(), id_, request.shares));
  if (user_namespace_) {
    KATA_TRY(uids_, isolation::read_uid_mappings(init_->pid()));
  }
  return {};
}

Status Container::check_exec_possible() const {
  if (init_->state() == ContainerProcess::State::kStopped) {
    return fail(Code::kFailedPrecondition, "cannot exec in a stopped container");
  }
  KATA_TRY(bool frozen, cgroup_.frozen());
  // Its processes would stand still before they have answered.
  if (frozen) return fail(Code::kFailedPrecondition, "cannot exec in a paused container");
  return {};
}

Result<ProcessRequest> Container::exec_request(const ExecRequest& request) {
  ProcessRequest wanted;
  wanted.label = fmt::format("exec {} of container {}", request.id, id_);
  wanted.role = "exec'd process";
  wanted.stdio = request.stdio;
  KATA_TRY(oci::Process process, oci::parse_process(request.process_json));
  wanted.terminal = process.terminal;
  log_not_enforced(wanted.label, oci::not_enforced(process));
  KATA_TRY(wanted.config.json, complete_exec_process(request.process_json, init_settings_));
  wanted.config.filter = seccomp_filter_;
  wanted.config.personality = personality_;
  wanted.config.container.id = id_;
  wanted.config.namespaces = rarer_namespaces_;
  wanted.uid = process.user.uid;
  wanted.uids = uids_;
  if (user_namespace_) {
    KATA_TRY(oci::Process completed, oci::parse_process(wanted.config.json));
    wanted.rlimits = std::move(completed.rlimits);
  }
  wanted.spawn.cgroup = cgroup_.descriptor();
  wanted.spawn.container_init = init_->pidfd();
  wanted.spawn.join_pid_namespace_of_init = !shares_agents_pid_namespace_;
  wanted.answer_timeout = kExecAnswerTimeout;
  wanted.count_oom = [weak = weak_from_this()] { return oom_events(weak); };
  wanted.at_end = [self = shared_from_this()](ProcessExit& exit) {
    constexpr uint32_t kKilled = 128 + SIGKILL;
    exit.oom_killed = exit.status == kKilled && self->cgroup_.oom_kills().value_or(0) > 0;
  };
  return wanted;
}

Result<std::shared_ptr<ContainerProcess>> Container::create_exec(const ExecRequest& request) {
  KATA_CHECK(validate_id("exec id", request.id));
  KATA_CHECK(check_exec_possible());
  KATA_TRY(ProcessRequest wanted, exec_request(request));
  KATA_CHECK(execs_.reserve(request.id));
  auto process = ContainerProcess::create(environment_, std::move(wanted));
  if (process) {
    execs_.publish(request.id, *process);
    return process;
  }
  execs_.cancel(request.id);
  if (!is_the_requests_fault(process.error().code()) && init_->wait(kInitEndTimeout)) {
    return fail(Code::kFailedPrecondition, "cannot exec in a stopped container");
  }
  return process;
}

Result<std::shared_ptr<ContainerProcess>> Container::process(const std::string& exec_id) const {
  if (exec_id.empty()) return init_;
  return execs_.find(exec_id);
}

Status Container::remove_exec(const std::string& id) {
  KATA_TRY(auto process, execs_.find(id));
  KATA_CHECK(process->forbid_start());
  KATA_CHECK(process->kill());
  process->close_stdio();
  execs_.erase(id, process);
  return {};
}

Status Container::start(const std::string& exec_id) {
  KATA_TRY(auto started, process(exec_id));
  if (!exec_id.empty()) KATA_CHECK(check_exec_possible());
  return started->start();
}

Status Container::signal(uint32_t signal, bool all, const std::string& exec_id) {
  KATA_TRY(auto target, process(exec_id));
  if (!all) return target->signal(signal);
  if (signal == SIGKILL) return cgroup_.kill();
  KATA_TRY(std::vector<pid_t> pids, cgroup_.pids());
  for (pid_t pid : pids) {
    if (kill(pid, static_cast<int>(signal)) == 0 || errno == ESRCH) continue;
    return fail_errno(fmt::format("send signal {} to process {}", signal, pid));
  }
  return {};
}

Status Container::pause() {
  if (init_->state() != ContainerProcess::State::kRunning) {
    return fail(Code::kFailedPrecondition, "container not running");
  }
  auto frozen = cgroup_.freeze(kFreezeTimeout);
  if (frozen) return {};
  if (auto thawed = cgroup_.thaw(kFreezeTimeout); !thawed) {
    log::error("container half paused", {{"container", id_}, {"error", thawed.error().message()}});
  }
  return frozen;
}

Status Container::resume() {
  if (init_->state() == ContainerProcess::State::kStopped) {
    return fail(Code::kFailedPrecondition, "container not running");
  }
  return cgroup_.thaw(kFreezeTimeout);
}

Status Container::update(std::string_view resources_json) {
  KATA_TRY(oci::Resources resources, oci::parse_resources(resources_json));
  if (init_->state() == ContainerProcess::State::kStopped) {
    return fail(Code::kFailedPrecondition, "cannot update a stopped container");
  }
  log_not_enforced("update of container " + id_, oci::not_enforced(resources));
  storage::use_numbers(resources, volume_numbers_);
  auto& check = resources.memory.check_before_update;
  if (check) checks_memory_usage_ = *check;
  check = checks_memory_usage_;
  if (!resources.devices.empty()) KATA_CHECK(limit_devices(resources.devices));
  KATA_CHECK(cgroup_.apply(resources));
  return reserve_hugepages(resources.hugepage_limits);
}

/// Of one that could not be removed, what others of the pod may want.
Container::~Container() {
  oom_watch_->close();
  environment_.share_mounts->release(share_places_);
  release_hugepages();
}

Status Container::remove() {
  KATA_CHECK(init_->forbid_start());
  return kill_and_remove();
}

Status Container::kill_and_remove() {
  auto killed = cgroup_.kill();
  // NotFound: an earlier call has removed the group.
  if (!killed && killed.error().code() != Code::kNotFound) return killed;
  if (init_) KATA_CHECK(init_->kill());
  // Whoever waits for an exec is told before it is forgotten.
  for (const auto& exec : execs_.clear()) KATA_CHECK(exec->kill());
  oom_watch_->close();
  KATA_CHECK(cgroup_.remove(kDeathTimeout));
  if (held_mounts_) held_mounts_->release();
  release_hugepages();
  Status unmounted = disk_mounts_.unmount();
  environment_.share_mounts->release(share_places_);
  return unmounted;
}

}  // namespace kata::container
