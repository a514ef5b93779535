// A sandbox that a test scripts: no VM, the states of real containers.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/sys/event.h"
#include "common/sys/promise.h"
#include "runtime/sandbox/sandbox.h"

namespace kata::fakes {

/// Containers live in `containers`. A create or start whose gate is set waits for it, so that a
/// test can let things happen meanwhile.
class FakeSandbox : public sandbox::Sandbox {
 public:
  struct Container {
    explicit Container(const asio::any_io_executor& executor) : exited(executor) {}
    sandbox::ProcessState state;
    sys::Promise<sandbox::ProcessExit> exited;
    std::vector<sandbox::RootfsMount> rootfs;
    std::vector<uint32_t> signals;
    bool stdin_closed = false;
  };

  FakeSandbox(asio::any_io_executor executor, sandbox::ExitHandler on_exit)
      : executor_(std::move(executor)), on_exit_(std::move(on_exit)) {}

  std::map<std::string, std::unique_ptr<Container>> containers;
  std::optional<sys::Event> create_gate;
  std::optional<sys::Event> start_gate;
  std::optional<Error> create_error;
  std::optional<Error> start_error;
  int shutdowns = 0;

  static constexpr uint32_t kPid = 4711;

  /// The container's process ends, and the handler is told.
  void end_process(const std::string& id, uint32_t status) {
    auto& container = *containers.at(id);
    container.state.status = sandbox::ProcessStatus::kStopped;
    container.state.exit = {.status = status, .at = std::chrono::system_clock::now()};
    container.exited.set(container.state.exit);
    on_exit_(id, "", kPid, container.state.exit);
  }

  Async<uint32_t> create(sandbox::CreateContainer request) override {
    if (create_gate) co_await create_gate->wait();
    if (create_error) co_return std::unexpected(*create_error);
    auto container = std::make_unique<Container>(executor_);
    container->state = {.status = sandbox::ProcessStatus::kCreated,
                        .pid = kPid,
                        .bundle = request.bundle,
                        .exit = {}};
    container->rootfs = request.rootfs;
    containers[request.id] = std::move(container);
    co_return kPid;
  }
  Async<uint32_t> start(const std::string& id, const std::string&) override {
    if (containers.at(id)->state.status != sandbox::ProcessStatus::kCreated)
      co_return fail(Code::kFailedPrecondition, "cannot start a running process");
    if (start_error) co_return std::unexpected(*start_error);
    containers.at(id)->state.status = sandbox::ProcessStatus::kRunning;
    if (start_gate) co_await start_gate->wait();
    co_return kPid;
  }
  Result<sandbox::ProcessState> state(const std::string& id,
                                      const std::string& exec_id) const override {
    auto found = containers.find(id);
    if (found == containers.end()) return fail(Code::kNotFound, "no container {}", id);
    if (!exec_id.empty()) return fail(Code::kNotFound, "process does not exist {}", exec_id);
    return found->second->state;
  }
  Async<void> kill(const std::string& id, const std::string& exec_id, uint32_t signal,
                   bool) override {
    KATA_CO_CHECK(state(id, exec_id));
    containers.at(id)->signals.push_back(signal);
    if (signal == kEndsAndFails) {
      end_process(id, 0);
      co_return fail(Code::kFailedPrecondition, "it is not running");
    }
    co_return Status{};
  }
  Async<sandbox::ProcessExit> wait(const std::string& id, const std::string& exec_id) override {
    KATA_CO_CHECK(state(id, exec_id));
    co_return co_await containers.at(id)->exited.wait();
  }
  Async<sandbox::RemovedProcess> remove(const std::string& id,
                                        const std::string& exec_id) override {
    KATA_CO_TRY(sandbox::ProcessState current, state(id, exec_id));
    if (current.status == sandbox::ProcessStatus::kRunning)
      co_return fail(Code::kFailedPrecondition, "cannot delete a running process");
    containers.erase(id);
    co_return sandbox::RemovedProcess{.pid = current.pid, .exit = current.exit};
  }
  Async<std::vector<uint32_t>> pids(const std::string&) override {
    co_return std::vector<uint32_t>{2, 3, 5};
  }
  Status close_stdin(const std::string& id, const std::string& exec_id) override {
    KATA_CHECK(state(id, exec_id));
    containers.at(id)->stdin_closed = true;
    return {};
  }
  bool has_containers() const override { return !containers.empty(); }
  Async<void> shutdown() override {
    ++shutdowns;
    co_return Status{};
  }

  /// A signal upon which the process ends before it can be killed.
  static constexpr uint32_t kEndsAndFails = 64;

 private:
  asio::any_io_executor executor_;
  sandbox::ExitHandler on_exit_;
};

}  // namespace kata::fakes
