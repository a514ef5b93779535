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
  struct Exec {
    sandbox::ProcessState state;
    std::string spec_json;
  };
  struct Container {
    explicit Container(const asio::any_io_executor& executor) : exited(executor) {}
    sandbox::ProcessState state;
    sys::Promise<sandbox::ProcessExit> exited;
    std::vector<sandbox::RootfsMount> rootfs;
    std::filesystem::path config_path;
    std::vector<uint32_t> signals;
    bool stdin_closed = false;
    std::map<std::string, Exec> execs;
  };

  FakeSandbox(asio::any_io_executor executor, sandbox::ExitHandler on_exit)
      : vm_ended(executor), executor_(std::move(executor)), on_exit_(std::move(on_exit)) {}

  sys::Promise<sandbox::ProcessExit> vm_ended;

  std::map<std::string, std::unique_ptr<Container>> containers;
  std::optional<sys::Event> create_gate;
  std::optional<sys::Event> start_gate;
  std::optional<Error> create_error;
  std::optional<Error> start_error;
  int shutdowns = 0;
  int removed = 0;
  std::vector<std::string> calls;
  std::map<std::string, std::string> annotations;
  /// What the next of the noted calls answers.
  std::optional<Error> call_error;

  static constexpr uint32_t kPid = 4711;
  static constexpr uint32_t kExecPid = 99;

  void end_exec(const std::string& id, const std::string& exec_id, uint32_t status) {
    sandbox::ProcessState& exec = containers.at(id)->execs.at(exec_id).state;
    exec.status = sandbox::ProcessStatus::kStopped;
    exec.exit = {.status = status, .at = std::chrono::system_clock::now()};
    on_exit_(id, exec_id, kExecPid, exec.exit);
  }

  /// The container's process ends, and the handler is told.
  void end_process(const std::string& id, uint32_t status) {
    auto& container = *containers.at(id);
    container.state.status = sandbox::ProcessStatus::kStopped;
    container.state.exit = {.status = status, .at = std::chrono::system_clock::now()};
    container.exited.set(container.state.exit);
    on_exit_(id, "", kPid, container.state.exit);
  }

  Status annotate(const std::map<std::string, std::string>& given) override {
    if (call_error) return std::unexpected(*call_error);
    annotations = given;
    return {};
  }
  Async<uint32_t> boot(std::string hostname) override {
    calls.push_back("boot " + hostname);
    if (call_error) co_return std::unexpected(*call_error);
    co_return kPid;
  }
  Async<sandbox::ProcessExit> wait_vm() override { co_return co_await vm_ended.wait(); }
  Async<void> ping() override { return note("ping"); }
  Async<std::string> pod_metrics() override { co_return std::string("metrics of the pod"); }
  Async<void> stop(std::chrono::seconds limit) override {
    return note(fmt::format("stop {}", limit.count()));
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
    container->config_path = request.config_path;
    containers[request.id] = std::move(container);
    co_return kPid;
  }
  Async<uint32_t> start(std::string id, std::string exec_id) override {
    if (!exec_id.empty()) {
      if (start_error) co_return std::unexpected(*start_error);
      sandbox::ProcessState& exec = containers.at(id)->execs.at(exec_id).state;
      exec.status = sandbox::ProcessStatus::kRunning;
      exec.pid = kExecPid;
      co_return kExecPid;
    }
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
    if (exec_id.empty()) return found->second->state;
    auto exec = found->second->execs.find(exec_id);
    if (exec == found->second->execs.end())
      return fail(Code::kNotFound, "process does not exist {}", exec_id);
    return exec->second.state;
  }
  Async<void> kill(std::string id, std::string exec_id, uint32_t signal, bool) override {
    KATA_CO_CHECK(state(id, exec_id));
    containers.at(id)->signals.push_back(signal);
    if (signal == kEndsAndFails) {
      end_process(id, 0);
      co_return fail(Code::kFailedPrecondition, "it is not running");
    }
    co_return Status{};
  }
  Async<sandbox::ProcessExit> wait(std::string id, std::string exec_id) override {
    KATA_CO_CHECK(state(id, exec_id));
    co_return co_await containers.at(id)->exited.wait();
  }
  Async<sandbox::RemovedProcess> remove(std::string id, std::string exec_id) override {
    KATA_CO_TRY(sandbox::ProcessState current, state(id, exec_id));
    if (current.status == sandbox::ProcessStatus::kRunning)
      co_return fail(Code::kFailedPrecondition, "cannot delete a running process");
    ++removed;
    if (exec_id.empty())
      containers.erase(id);
    else
      containers.at(id)->execs.erase(exec_id);
    co_return sandbox::RemovedProcess{.pid = current.pid, .exit = current.exit};
  }
  Async<std::vector<sandbox::ContainerProcess>> pids(std::string) override {
    std::vector<sandbox::ContainerProcess> processes;
    for (uint32_t pid : {2, 3, 5}) processes.push_back({.pid = pid, .exec_id = {}});
    processes.back().exec_id = "e5";
    co_return processes;
  }
  Async<void> exec(sandbox::ExecProcess request) override {
    KATA_CO_CHECK(state(request.container_id, ""));
    Container& container = *containers.at(request.container_id);
    auto [entry, is_new] = container.execs.try_emplace(request.exec_id, Exec{});
    if (!is_new) co_return fail(Code::kAlreadyExists, "id {}: already exists", request.exec_id);
    entry->second.spec_json = request.spec_json;
    entry->second.state.status = sandbox::ProcessStatus::kCreated;
    co_return Status{};
  }
  Async<void> resize(std::string id, std::string exec_id, uint32_t columns,
                     uint32_t rows) override {
    KATA_CO_CHECK(state(id, exec_id));
    calls.push_back(fmt::format("resize {}x{}", columns, rows));
    co_return Status{};
  }
  Async<void> pause(std::string) override { return note("pause"); }
  Async<void> resume(std::string) override { return note("resume"); }
  Async<void> update(std::string, std::string resources_json) override {
    return note("update " + resources_json);
  }
  Async<std::string> metrics(std::string) override { co_return std::string("metrics"); }
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
  Async<void> note(std::string call) {
    calls.push_back(std::move(call));
    if (call_error) co_return std::unexpected(*call_error);
    co_return Status{};
  }

  asio::any_io_executor executor_;
  sandbox::ExitHandler on_exit_;
};

}  // namespace kata::fakes
