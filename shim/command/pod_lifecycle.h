// The pod of containerd's sandbox API over a Sandbox: a VM that is there without a container.
#pragma once

#include <functional>
#include <string>

#include "runtime/sandbox/sandbox.h"
#include "shim/service/sandbox_service.h"

namespace kata::command {

class VmLifecycle : public service::PodLifecycle {
 public:
  /// Moves this process, and what it will start, into the network namespace at a path.
  using EnterNetwork = std::function<Status(const std::string& path)>;

  /// `sandbox` is borrowed and outlives it.
  VmLifecycle(sandbox::Sandbox& sandbox, EnterNetwork enter_network)
      : sandbox_(sandbox), enter_network_(std::move(enter_network)) {}

  /// Enters the network namespace. FailedPrecondition: containers came without a sandbox before.
  Async<void> prepare(service::PodRequest request) override;
  /// After a failure nothing can boot the VM any more.
  Async<uint32_t> boot() override;
  Async<sandbox::ProcessExit> wait() override { return sandbox_.wait_vm(); }
  Async<void> stop(std::chrono::seconds limit) override { return sandbox_.stop(limit); }
  Async<void> ping() override { return sandbox_.ping(); }
  Async<service::PodMetrics> metrics() override;

 private:
  sandbox::Sandbox& sandbox_;
  EnterNetwork enter_network_;
  std::string hostname_;
};

}  // namespace kata::command
