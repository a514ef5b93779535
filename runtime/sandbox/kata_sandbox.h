// The real Sandbox: QEMU, virtiofsd, agent; or fakes of them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "runtime/sandbox/container.h"
#include "runtime/sandbox/parts.h"
#include "runtime/sandbox/pod_vm.h"
#include "runtime/sandbox/sandbox.h"

namespace kata::sandbox {

/// Kept alive by the coroutines it has spawned; make it with std::make_shared.
class KataSandbox : public Sandbox, public std::enable_shared_from_this<KataSandbox> {
 public:
  KataSandbox(asio::any_io_executor executor, SandboxOptions options, Parts parts,
              ExitHandler on_exit);

  Async<uint32_t> create(CreateContainer request) override;
  Async<uint32_t> start(const std::string& id, const std::string& exec_id) override;
  Result<ProcessState> state(const std::string& id, const std::string& exec_id) const override;
  Async<void> kill(const std::string& id, const std::string& exec_id, uint32_t signal,
                   bool all) override;
  Async<ProcessExit> wait(const std::string& id, const std::string& exec_id) override;
  Async<RemovedProcess> remove(const std::string& id, const std::string& exec_id) override;
  Async<std::vector<uint32_t>> pids(const std::string& id) override;
  Status close_stdin(const std::string& id, const std::string& exec_id) override;
  bool has_containers() const override { return !containers_.empty(); }
  Async<void> shutdown() override;

 private:
  using ContainerPtr = std::shared_ptr<Container>;

  Result<ContainerPtr> find(const std::string& id, const std::string& exec_id) const;
  Async<void> ensure_booted(const std::string& hostname);
  Async<void> build(ContainerPtr container, std::vector<RootfsMount> rootfs);
  Async<void> build_in_guest(ContainerPtr container, const std::string& spec_json,
                             const std::string& guest_rootfs);
  Async<void> connect_stdio(ContainerPtr container, agent_client::StdioPorts ports);
  Async<void> discard(ContainerPtr container);
  asio::awaitable<void> watch_exit(ContainerPtr container);
  asio::awaitable<void> drain(ContainerPtr container);
  asio::awaitable<void> watch_vm(std::shared_ptr<PodVm> vm);
  void record_exit(const ContainerPtr& container, ProcessExit exit);
  asio::awaitable<void> report_exit(ContainerPtr container);
  bool vm_runs() const { return vm_ && !vm_->gone().is_set(); }

  asio::any_io_executor executor_;
  SandboxOptions options_;
  Parts parts_;
  ExitHandler on_exit_;
  std::map<std::string, ContainerPtr> containers_;
  std::shared_ptr<PodVm> booting_vm_;
  std::shared_ptr<PodVm> vm_;
  std::optional<sys::Promise<Status>> boot_;  // of the boot under way or done
  uint32_t vm_pid_ = 0;
  bool stopping_ = false;
};

}  // namespace kata::sandbox
