// A pod's VM from nothing to an agent that answers, and back.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "common/sys/promise.h"
#include "runtime/hypervisor/console.h"
#include "runtime/sandbox/disks.h"
#include "runtime/sandbox/host_cgroup.h"
#include "runtime/sandbox/parts.h"
#include "runtime/sandbox/pod_size.h"
#include "runtime/sandbox/sandbox.h"
#include "runtime/sandbox/volumes.h"

namespace kata::sandbox {

/// Where a VM's guest comes from.
enum class VmSource {
  kBoot,
  /// From the template of the pod's configuration, which is made when there is none; booted when
  /// that cannot be.
  kTemplate,
};

/// Of a VM that takes devices while it runs: for what every pod has, for network cards whose
/// interfaces come after the boot, and for disks.
inline constexpr uint32_t kPodPort = 0;
inline constexpr uint32_t kLatePort = 1;
inline constexpr uint32_t kFirstDiskPort = 2;
inline constexpr uint32_t kRootPorts = 8;

/// What a pod's VM has to be.
struct VmWanted {
  std::string hostname;
  uint64_t shm_bytes = 0;  // of the pod's /dev/shm; 0: no matter
  /// The host's control group of the pod (OCI, linux.cgroupsPath); empty: where the shim is.
  std::string cgroups_path;
  VmSource source = VmSource::kBoot;
  /// Whether a VM that boots has room for disks, which costs it time; one from a template always
  /// has.
  bool with_disks = false;
  /// What is known of it before there is a container.
  Demand demand;
  /// Whether that may change, which costs a device.
  bool resizable = false;
};

/// One boot of one VM. Used on one executor; kept alive by its own watchers until the VM has gone.
class PodVm : public std::enable_shared_from_this<PodVm> {
 public:
  PodVm(asio::any_io_executor executor, SandboxOptions options, Parts parts);

  /// Run directory, vsock, share, console, network, QEMU, agent: in this order. Whatever fails, the
  /// error names its stage, with the guest's last console lines where they can explain it, and
  /// everything that was made is gone when this returns.
  Async<void> boot(VmWanted wanted);

  /// Whether the guest continues a template: then a failed boot may be worth another one without.
  bool continues_template() const { return continues_template_; }

  /// Instead of boot(): makes the template of these options, unless there is a valid one. Cleans up
  /// as boot() does; abort() ends it too.
  Async<void> provide_template();

  /// Makes a boot under way fail soon with Cancelled; boot() cleans up and answers.
  Async<void> abort();

  agent_client::Agent& agent() { return *agent_; }
  const std::shared_ptr<storage::SharedBinds>& binds() const { return binds_; }
  Disks& disks() { return *disks_; }
  Volumes& volumes() { return *volumes_; }
  uint32_t pid() const { return static_cast<uint32_t>(vm_->identity().pid); }

  /// Gives the guest what the pod's network namespace holds by now: a card for each interface that
  /// has come, addresses, routes and neighbours as they are. Calls that overlap wait for each
  /// other.
  Async<void> update_network(network::PodNetwork::Which which = network::PodNetwork::Which::kAll);

  /// Whether the VM has room for what the pod's containers may use together. ResourceExhausted.
  Status check_room(const Demand& demand) const;
  /// Has the guest use the processors for this demand, and asks it to take or give back memory; a
  /// VM of a fixed size stays as it is. Calls that overlap wait for each other.
  Async<void> resize(Demand demand);
  /// The same, but nothing becomes less.
  Async<void> grow(Demand demand);
  /// Completes when the guest has the memory that it was asked to have. DeadlineExceeded.
  Async<void> await_memory();

  /// A stream to a port of the guest.
  Async<UniqueFd> dial(uint32_t port) { return vsock_->dial(port); }

  /// Set when QEMU has ended, with why.
  const sys::Promise<std::string>& gone() const { return gone_; }

  /// Ends QEMU alone, as if it had ended by itself.
  Async<void> kill();
  /// Ends QEMU and virtiofsd and removes the run directory. Safe to repeat.
  Async<void> stop();

 private:
  Async<void> run_boot_steps(VmWanted wanted);
  Status make_run_dir();
  Status enter_host_cgroup(const std::string& cgroups_path);
  Status open_transport();
  Status start_share();
  Status listen_to_console();
  /// Of what the pod has, in their order.
  std::vector<hypervisor::Device> pod_devices(const hypervisor::VmConfig& vm) const;
  /// What the configuration says of a VM, into base_.
  Status describe_base();
  /// That, with what only one VM has, but its devices.
  hypervisor::VmConfig describe_vm() const;
  std::string kernel_command_line(const hypervisor::VmConfig& vm) const;
  Async<void> launch(hypervisor::VmConfig vm);
  Async<void> connect_agent();
  Async<void> await_ready();
  /// Answers how long the agent needed before it was ready.
  Async<std::chrono::microseconds> greet_agent(VmWanted wanted);

  // pod_vm_clock.cc
  asio::awaitable<void> keep_clock();
  Async<void> check_clock();

  // pod_vm_size.cc
  void leave_room(hypervisor::VmConfig& vm) const;
  VmSize size_wanted(const VmWanted& wanted) const;
  void size_for(hypervisor::VmConfig& vm, const VmWanted& wanted);
  void note_size(const hypervisor::VmConfig& vm);
  VmSize size_of(const Demand& demand) const;
  bool is_resizable() const { return most_ != booted_; }
  Async<void> resize_to(Demand demand, bool only_up);
  Async<void> change_size(VmSize wanted);

  // pod_vm_network.cc
  Status open_network(uint32_t vcpus);
  asio::awaitable<void> follow_network();
  Async<void> bring_network_up_to_date(network::PodNetwork::Which which);
  Async<void> connect_late(network::PodNetwork::Which which);
  Async<void> attach_late_cards(const std::vector<network::Card>& cards);

  // pod_vm_loopback.cc
  asio::awaitable<void> follow_loopback();
  asio::awaitable<void> forward(UniqueFd client);

  // pod_vm_template.cc
  Result<factory::Recipe> template_recipe() const;
  asio::awaitable<std::optional<factory::SavedVm>> find_template();
  Async<factory::SavedVm> open_or_make_template();
  Async<std::shared_ptr<factory::Draft>> begin_template(factory::Recipe recipe);
  Async<factory::SavedVm> make_and_open_template(factory::Recipe recipe);
  Async<void> make_template(std::shared_ptr<factory::Draft> draft);
  Async<void> continue_template(factory::SavedVm saved, VmWanted wanted);
  Async<void> run_template_steps(std::shared_ptr<factory::Draft> draft);
  asio::awaitable<void> condemn_template(Error why);
  asio::awaitable<Error> with_cause(Error error);

  asio::awaitable<void> watch_vm();
  /// The end of one of the VM's processes, with the host's part in it.
  std::string with_oom_kill(std::string reason) const;
  asio::awaitable<void> watch_share();
  asio::awaitable<void> read_ready_line(UniqueFd listener, sys::Promise<Status> outcome);
  Status save_state() const;
  Status check_not_aborted() const;
  asio::awaitable<Error> with_console(Error error);

  asio::any_io_executor executor_;
  const SandboxOptions options_;
  const Parts parts_;
  std::filesystem::path run_dir_;
  hypervisor::VmConfig base_;
  sys::Promise<std::string> gone_;
  sys::Promise<std::string> share_gone_;
  bool killed_ = false;  // QEMU, once gone_ is set
  bool run_dir_made_ = false;
  std::optional<HostCgroup> host_cgroup_;
  bool continues_template_ = false;
  bool aborted_ = false;
  bool stopping_ = false;

  std::unique_ptr<vsock::Backend> vsock_;
  UniqueFd ready_listener_;
  std::unique_ptr<storage::Share> share_;
  /// Containers' storages have it, too.
  std::shared_ptr<storage::SharedBinds> binds_;
  std::unique_ptr<hypervisor::Console> console_;
  /// Null: the pod has no network namespace of its own.
  std::unique_ptr<network::PodNetwork> network_;
  std::optional<asio::posix::stream_descriptor> network_events_;
  /// Where the host connects to the guest's loopback.
  std::optional<asio::posix::stream_descriptor> loopback_;
  size_t forwarded_ = 0;              // connections to it
  std::vector<network::Card> cards_;  // of a VM that is not launched yet
  bool late_port_is_free_ = false;
  std::optional<sys::Promise<bool>> network_update_;  // the one under way
  bool has_hot_memory_ = false;                       // a device for memory that comes and goes
  uint32_t plugged_vcpus_ = 0;
  VmSize booted_;
  VmSize size_;  // what it has been made, or asked to be
  VmSize most_;
  std::optional<sys::Promise<bool>> resize_;  // the one under way
  network::Network guest_network_;            // what the guest was told last
  std::unique_ptr<hypervisor::Launcher> launcher_;
  std::unique_ptr<hypervisor::Vm> vm_;
  std::optional<Disks> disks_;
  std::optional<Volumes> volumes_;
  std::unique_ptr<agent_client::Agent> agent_;
  /// While this VM's template is being made.
  std::shared_ptr<PodVm> template_vm_;
};

}  // namespace kata::sandbox
