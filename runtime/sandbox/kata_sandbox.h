// The real Sandbox: QEMU, virtiofsd, agent; or fakes of them.
#pragma once

#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/config/annotations.h"
#include "runtime/sandbox/container.h"
#include "runtime/sandbox/guest_spec.h"
#include "runtime/sandbox/hooks.h"
#include "runtime/sandbox/parts.h"
#include "runtime/sandbox/pod_vm.h"
#include "runtime/sandbox/sandbox.h"
#include "runtime/storage/block_rootfs.h"

namespace kata::sandbox {

/// What clients are told of a process, or a VM, that was killed with its VM.
inline constexpr uint32_t kVmGoneStatus = 128 + SIGKILL;

/// What a container's root is made of.
struct RootfsPlan {
  std::vector<sys::MountEntry> mounts;
  /// The same as disks of the VM, where it can be.
  std::optional<storage::BlockRootfs> disks;
};

/// Kept alive by the coroutines it has spawned; make it with std::make_shared.
class KataSandbox : public Sandbox, public std::enable_shared_from_this<KataSandbox> {
 public:
  KataSandbox(asio::any_io_executor executor, SandboxOptions options, Parts parts,
              ExitHandler on_exit, OomHandler on_oom);

  Status annotate(const config::Annotations& annotations) override;
  Async<uint32_t> boot(std::string hostname) override;
  Async<ProcessExit> wait_vm() override;
  Async<void> ping() override;
  Async<std::string> pod_metrics() override;
  Async<void> stop(std::chrono::seconds limit) override;
  Async<uint32_t> create(CreateContainer request) override;
  Async<void> exec(ExecProcess request) override;
  Async<uint32_t> start(std::string id, std::string exec_id) override;
  Result<ProcessState> state(const std::string& id, const std::string& exec_id) const override;
  Async<void> kill(std::string id, std::string exec_id, uint32_t signal, bool all) override;
  Async<ProcessExit> wait(std::string id, std::string exec_id) override;
  Async<RemovedProcess> remove(std::string id, std::string exec_id) override;
  Status close_stdin(const std::string& id, const std::string& exec_id) override;
  Async<void> resize(std::string id, std::string exec_id, uint32_t columns, uint32_t rows) override;
  Async<std::vector<ContainerProcess>> pids(std::string id) override;
  Async<void> pause(std::string id) override;
  Async<void> resume(std::string id) override;
  Async<void> update(std::string id, std::string resources_json) override;
  Async<std::string> metrics(std::string id) override;
  bool has_containers() const override { return !containers_.empty(); }
  Async<void> shutdown() override;

 private:
  using ContainerPtr = std::shared_ptr<Container>;
  using ProcessPtr = std::shared_ptr<Process>;

  Result<ContainerPtr> find(const std::string& id) const;
  Async<void> build(ContainerPtr container, std::vector<RootfsMount> rootfs);
  PodInit pod_init() const;
  Async<void> build_in_guest(ContainerPtr container, agent_client::ContainerSpec spec,
                             agent_client::ContainerRoot root);
  Async<void> discard_in_guest(ContainerPtr container);
  Async<void> discard(ContainerPtr container);

  // kata_sandbox_config.cc
  Status configure(const std::filesystem::path& config_path,
                   const config::Annotations& annotations);
  Status check_as_of_pod(const config::Annotations& annotations) const;

  // kata_sandbox_hooks.cc
  HookCall hook_call(const Container& container, std::string kind, std::string_view status) const;
  Async<void> run_create_hooks(ContainerPtr container);
  asio::awaitable<void> run_poststart_hooks(ProcessPtr init);
  asio::awaitable<void> run_poststop_hooks(ContainerPtr container);

  // kata_sandbox_root.cc
  RootfsPlan plan_rootfs(std::vector<RootfsMount> rootfs) const;
  Async<agent_client::ContainerRoot> provide_root(ContainerPtr container, RootfsPlan plan,
                                                  std::filesystem::path bundle_rootfs);
  Async<agent_client::ContainerRoot> provide_disks(ContainerPtr container,
                                                   storage::BlockRootfs block);
  Async<void> provide_volumes(ContainerPtr container, std::vector<storage::HostDisk> disks);
  asio::awaitable<void> release_disks(ContainerPtr container);

  // kata_sandbox_vm.cc
  /// Unavailable: it has ended, or there is none.
  Result<std::shared_ptr<PodVm>> running_vm() const;
  Status check_not_stopping() const;
  Async<void> ensure_booted(VmWanted wanted);
  Async<void> boot_vm(VmWanted wanted);
  asio::awaitable<void> abort_boot();
  asio::awaitable<void> watch_vm(std::shared_ptr<PodVm> vm);
  asio::awaitable<void> end_inits(std::chrono::seconds limit);
  asio::awaitable<void> ask_to_end(ProcessPtr init);
  asio::awaitable<void> let_go_of_disks();
  asio::awaitable<void> end_in_guest(ContainerPtr container, sys::Promise<bool> end);
  void release_storage(Container& container);
  Async<void> stop_vm();

  // kata_sandbox_processes.cc
  Result<ProcessPtr> find_process(const std::string& id, const std::string& exec_id) const;
  Status check_exec(const Container& container) const;
  Async<void> start_init(ProcessPtr process);
  Async<void> start_exec(ProcessPtr process);
  Async<void> build_exec(ProcessPtr process);
  asio::awaitable<void> forget_exec(ProcessPtr process);
  Async<void> connect_stdio(ProcessPtr process, agent_client::StdioPorts ports);
  asio::awaitable<void> watch_exit(ProcessPtr process);
  asio::awaitable<void> await_execs(std::string container_id);
  asio::awaitable<void> drain(ProcessPtr process, std::chrono::seconds limit);
  void end_all_processes(Container& container);
  void record_exit(const ProcessPtr& process, ProcessExit exit);
  asio::awaitable<void> report_exit(ProcessPtr process);
  Async<void> discard_exec(ProcessPtr process);

  // kata_sandbox_resources.cc
  Status check_runs(const Container& container, std::string_view what) const;
  Async<void> set_paused(std::string id, bool wanted);
  Async<void> change_paused(ContainerPtr container, bool wanted);
  asio::awaitable<void> watch_oom(ProcessPtr init);
  /// Of a VM that has still to boot, for this container.
  Result<VmWanted> wanted_vm(const oci::Spec& spec, const ContainerLimits& limits);
  Demand demand() const;
  Async<void> make_room();
  Async<void> grow_vm(Demand had);
  Async<void> update_alone(std::string id, std::string resources_json);

  asio::any_io_executor executor_;
  SandboxOptions options_;
  Parts parts_;
  const config::Config host_config_;  // before what the pod changes of it
  config::Annotations pod_annotations_;
  ExitHandler on_exit_;
  OomHandler on_oom_;
  HookRunner hooks_;
  HookRunner last_hooks_;  // poststop: nothing but the shim's end stops them
  std::map<std::string, ContainerPtr> containers_;
  std::shared_ptr<PodVm> booting_vm_;
  std::shared_ptr<PodVm> vm_;
  std::optional<sys::Promise<Status>> boot_;     // of the boot under way or done
  std::optional<sys::Promise<Status>> vm_stop_;  // of the stop under way or done
  sys::Promise<ProcessExit> vm_exit_;
  uint32_t vm_pid_ = 0;
  /// What CRI has said of all containers together; until one of them is updated.
  Demand announced_;
  std::optional<sys::Event> updating_;  // while an update is under way: set when it is done
  bool stopping_ = false;
};

/// Whether a call to the agent failed because its VM has ended. The connection breaks some moments
/// before QEMU's end is known.
asio::awaitable<bool> is_end_of_vm(std::shared_ptr<PodVm> vm, Error error);

}  // namespace kata::sandbox
