// A pod whose every part is fake, for tests of the sandbox: it can be told to fail at one step, and
// it counts what exists, so that a test can see that nothing was left.
#pragma once

#include <csignal>
#include <map>
#include <optional>
#include <set>
#include <string>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <sys/socket.h>

#include "common/agent_protocol.h"
#include "common/sys/promise.h"
#include "common/sys/unix_socket.h"
#include "runtime/sandbox/parts.h"
#include "runtime/sandbox/process_io.h"
#include "tests/fakes/script.h"

namespace kata::fakes {

class FakeVsock : public vsock::Backend {
 public:
  FakeVsock(Script& script, const std::filesystem::path& run_dir)
      : script_(script), run_dir_(run_dir), device_(hypervisor::VhostUserVsock{run_dir / "x"}) {
    ++script_.vsocks;
  }
  ~FakeVsock() override { --script_.vsocks; }

  const hypervisor::Device& device() const override { return device_; }
  Async<UniqueFd> dial(uint32_t port) override {
    if (port != kAgentPort) KATA_CO_CHECK(script_.at(Step::kDialStdio));
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
      co_return fail_errno("socketpair");
    guest_ends_.emplace_back(ends[1]);
    co_return UniqueFd(ends[0]);
  }
  Result<UniqueFd> listen(uint32_t port) override {
    return sys::listen_unix(run_dir_ / fmt::format("vsock_{}", port));
  }
  Async<UniqueFd> accept_from_guest(const UniqueFd& listener) override {
    asio::posix::stream_descriptor watched(script_.executor, dup(listener.get()));
    boost::system::error_code error;
    co_await watched.async_wait(asio::posix::stream_descriptor::wait_read,
                                asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return fail(Code::kCancelled, "cancelled");
    co_return UniqueFd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  }

 private:
  Script& script_;
  std::filesystem::path run_dir_;
  hypervisor::Device device_;
  std::vector<UniqueFd> guest_ends_;
};

/// Of a pod whose interfaces are the script's.
class FakeNetwork : public network::PodNetwork {
 public:
  explicit FakeNetwork(Script& script) : script_(script) {
    if (::pipe2(events_, O_CLOEXEC | O_NONBLOCK) != 0) std::abort();
  }
  ~FakeNetwork() override {
    (void)disconnect_all();
    for (const int end : events_) ::close(end);
  }

  Result<std::vector<network::Card>> connect_new(Which which, uint32_t queues) override {
    script_.network_queues = queues;
    std::vector<network::Card> cards;
    for (const std::string& name : script_.interfaces) {
      if (which == Which::kUntried && failed_.contains(name)) continue;
      if (!connected_.insert(name).second) continue;
      ++script_.network_attempts;
      ++script_.connected_interfaces;
      cards.push_back({.interface = name, .mac = "02:00:00:00:00:01", .queues = {}, .vhosts = {}});
    }
    return cards;
  }
  Result<network::Network> read() override {
    network::Network network;
    for (const std::string& name : connected_) {
      network::Interface interface;
      interface.name = name;
      network.interfaces.push_back(interface);
    }
    return network;
  }
  int events() const override { return events_[0]; }
  void take_events() override {}
  UniqueFd take_loopback() override { return {}; }
  Status give_up(const std::vector<network::Card>& cards) override {
    for (const network::Card& card : cards) {
      script_.connected_interfaces -= static_cast<int>(connected_.erase(card.interface));
      failed_.insert(card.interface);
    }
    return {};
  }
  Status disconnect_all() override {
    script_.connected_interfaces -= static_cast<int>(connected_.size());
    connected_.clear();
    return {};
  }

 private:
  Script& script_;
  std::set<std::string> connected_;
  std::set<std::string> failed_;
  int events_[2];
};

class FakeShare : public storage::Share {
 public:
  FakeShare(Script& script, const std::filesystem::path& run_dir)
      : script_(script), root_(run_dir / "shared"), device_(hypervisor::VhostUserFs{}) {
    ++script_.shares;
    script_.share_end = std::make_unique<sys::Promise<std::string>>(script_.executor);
    std::filesystem::create_directory(root_);
  }
  ~FakeShare() override { --script_.shares; }
  const hypervisor::Device& device() const override { return device_; }
  const std::filesystem::path& root() const override { return root_; }
  const sys::ProcessIdentity& server() const override { return none_; }
  Async<std::string> wait_exit() override { co_return co_await script_.share_end->wait(); }
  Async<void> stop(bool) override {
    script_.share_end->set("exited");
    co_return Status{};
  }

 private:
  Script& script_;
  std::filesystem::path root_;
  hypervisor::Device device_;
  sys::ProcessIdentity none_;
};

class FakeStorage : public storage::ContainerStorage {
 public:
  explicit FakeStorage(Script& script) : script_(script) { ++script_.storages; }
  ~FakeStorage() override { --script_.storages; }
  Result<std::string> mount_rootfs(std::vector<sys::MountEntry>,
                                   const std::filesystem::path&) override {
    KATA_CHECK(script_.at(Step::kMountRootfs));
    return "c/rootfs";
  }
  Result<std::string> bind(const std::filesystem::path&, storage::BindOptions) override {
    return "c/m";
  }
  Status remove() override { return {}; }

 private:
  Script& script_;
};

/// What the guest does when it is ready.
inline Status send_ready_line(const Script& script, const std::filesystem::path& run_dir) {
  KATA_TRY(UniqueFd socket, sys::connect_unix(run_dir / fmt::format("vsock_{}", kReadyPort)));
  std::string_view line = script.fail_at == Step::kGuestGarbles ? "BREADY 9\n\n\n" : kReadyLine;
  if (send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0)
    return fail_errno("send the ready line");
  return {};
}

class FakeVm : public hypervisor::Vm {
 public:
  FakeVm(Script& script, std::filesystem::path run_dir)
      : script_(script), run_dir_(std::move(run_dir)) {
    ++script_.vms;
    // No real process: the cleanup would end it.
    identity_.pid = 0;
    end_.emplace(script_.executor);
    script_.vm_end = std::make_unique<sys::Promise<std::string>>(*end_);
  }
  ~FakeVm() override {
    // The script's end is the latest VM's.
    if (!end_->is_set()) script_.end_vm("destroyed");
  }
  const hypervisor::VmIdentity& identity() const override { return identity_; }
  Async<hypervisor::VmEnd> wait_exit() override {
    const std::string reason = co_await end_->wait();
    co_return hypervisor::VmEnd{.reason = reason, .killed = reason == kKilled};
  }
  Async<void> stop() override {
    script_.end_vm("stopped");
    co_return Status{};
  }
  Async<void> attach(std::vector<hypervisor::Device> devices, uint32_t port) override {
    std::string call = fmt::format("attach {}", port);
    for (const auto& device : devices) {
      if (const auto* block = std::get_if<hypervisor::Block>(&device))
        call += " " + block->serial;
      else
        call += std::holds_alternative<hypervisor::NetworkCard>(device)   ? " card"
                : std::holds_alternative<hypervisor::HotMemory>(device)   ? " memory"
                : std::holds_alternative<hypervisor::VhostUserFs>(device) ? " share"
                                                                          : " vsock";
    }
    script_.vm_calls.push_back(call);
    co_return script_.at(Step::kAttach);
  }
  Async<void> detach(uint32_t port) override {
    script_.vm_calls.push_back(fmt::format("detach {}", port));
    KATA_CO_CHECK(die_if_told());
    co_return script_.at(Step::kDetach);
  }
  Async<void> plug_vcpus(uint32_t count) override {
    script_.vm_calls.push_back(fmt::format("vcpus {}", count));
    co_return script_.at(Step::kResize);
  }
  Async<void> request_memory(uint64_t mib) override {
    script_.vm_calls.push_back(fmt::format("request {} MiB", mib));
    co_return Status{};
  }
  Async<void> await_memory(std::chrono::seconds) override {
    script_.vm_calls.emplace_back("await memory");
    co_return script_.at(Step::kMemoryStays);
  }
  Async<void> save(int device_state_fd) override {
    script_.vm_calls.push_back("save");
    if (write(device_state_fd, "state", 5) != 5) co_return fail_errno("write");
    co_return Status{};
  }
  Async<void> restore(int device_state_fd) override {
    script_.vm_calls.push_back("restore");
    char state[5];
    if (pread(device_state_fd, state, sizeof state, 0) != 5) co_return fail_errno("read");
    co_return script_.at(Step::kRestore);
  }
  Async<void> resume() override {
    script_.vm_calls.push_back("resume");
    KATA_CO_CHECK(die_if_told());
    if (script_.fail_at == Step::kCloneSilent) co_return Status{};
    co_return send_ready_line(script_, run_dir_);
  }

 private:
  Status die_if_told() {
    if (script_.fail_at != Step::kVmKilled) return {};
    script_.end_vm(kKilled);
    return fail(Code::kUnavailable, "QEMU closed its monitor");
  }

  Script& script_;
  std::filesystem::path run_dir_;
  std::optional<sys::Promise<std::string>> end_;
  hypervisor::VmIdentity identity_;
};

class FakeLauncher : public hypervisor::Launcher {
 public:
  explicit FakeLauncher(Script& script) : script_(script) {}
  Async<std::unique_ptr<hypervisor::Vm>> launch(const hypervisor::VmConfig& config) override {
    KATA_CO_CHECK(script_.at(Step::kLaunch));
    std::unique_ptr<hypervisor::Vm> vm = std::make_unique<FakeVm>(script_, config.run_dir);
    std::string call = config.for_restore ? "launch for restore" : "launch";
    for (const auto& device : config.devices)
      if (std::holds_alternative<hypervisor::NetworkCard>(device)) call += " card";
    script_.last_vm = config;
    script_.vm_calls.push_back(call);
    if (script_.fail_at == Step::kGuestDies) {
      script_.end_vm("exited with status 1");
    } else if (script_.fail_at == Step::kShareDies) {
      script_.share_end->set("killed by signal 9");
      // Time for watch_share() to see it.
      co_await asio::post(script_.executor, asio::use_awaitable);
      co_await asio::post(script_.executor, asio::use_awaitable);
    } else if (script_.fail_at != Step::kGuestSilent && !config.for_restore) {
      KATA_CO_CHECK(send_ready_line(script_, config.run_dir));
    }
    co_return vm;
  }

 private:
  Script& script_;
};

class FakeAgent : public agent_client::Agent {
 public:
  explicit FakeAgent(Script& script) : script_(script) {}
  Async<void> prepare_template() override { co_return Status{}; }
  Async<agent_client::SandboxInfo> create_sandbox(
      const agent_client::SandboxSettings& settings) override {
    script_.last_settings = settings;
    KATA_CO_CHECK(script_.at(Step::kCreateSandbox));
    co_return agent_client::SandboxInfo{};
  }
  Async<agent_client::CreatedProcess> create_container(const std::string& id,
                                                       const agent_client::ContainerSpec& spec,
                                                       const agent_client::ContainerRoot& root,
                                                       agent_client::StdioWanted wanted) override {
    KATA_CO_CHECK(script_.at(Step::kCreateContainer));
    script_.last_spec = spec;
    script_.last_root = root;
    script_.guest_containers.insert(id);
    script_.exits.insert_or_assign(
        id, sys::Promise<Result<agent_client::ProcessExit>>(script_.executor));
    agent_client::CreatedProcess created;
    created.guest_pid = kInitPid;
    created.ports.out = wanted.out ? 5000 : 0;
    co_return created;
  }
  static constexpr uint32_t kInitPid = 7;
  static constexpr uint32_t kExecPid = 42;

  Async<agent_client::CreatedProcess> create_exec(const std::string&, const std::string& exec_id,
                                                  const std::string&,
                                                  agent_client::StdioWanted wanted) override {
    KATA_CO_CHECK(script_.at(Step::kCreateExec));
    script_.guest_execs.insert(exec_id);
    script_.exits.insert_or_assign(
        exec_id, sys::Promise<Result<agent_client::ProcessExit>>(script_.executor));
    agent_client::CreatedProcess created;
    created.guest_pid = kExecPid;
    created.ports.out = wanted.out ? 5001 : 0;
    co_return created;
  }
  Async<void> delete_exec(const std::string&, const std::string& exec_id) override {
    script_.guest_execs.erase(exec_id);
    co_return Status{};
  }
  Async<void> resize_terminal(const std::string&, const std::string& exec_id,
                              agent_client::TerminalSize size) override {
    script_.calls.push_back(fmt::format("resize {} {}x{}", exec_id, size.columns, size.rows));
    co_return Status{};
  }
  Async<void> pause_container(const std::string& id) override {
    script_.calls.push_back("pause " + id);
    co_await asio::post(script_.executor, asio::use_awaitable);
    co_return Status{};
  }
  Async<void> resume_container(const std::string& id) override {
    script_.calls.push_back("resume " + id);
    co_return Status{};
  }
  Async<void> update_network(const network::Network& network) override {
    std::string call = "network";
    for (const network::Interface& interface : network.interfaces) call += " " + interface.name;
    script_.calls.push_back(call);
    co_return Status{};
  }
  Async<void> resize_guest(uint32_t processors, bool hot_memory) override {
    script_.calls.push_back(
        fmt::format("resize guest {}{}", processors, hot_memory ? " hot memory" : ""));
    co_return Status{};
  }
  Async<std::chrono::nanoseconds> adjust_clock(std::chrono::nanoseconds gain) override {
    const auto now = std::chrono::system_clock::now().time_since_epoch() + script_.clock_ahead;
    script_.clock_ahead += gain;
    if (gain.count() != 0) script_.clock_gains.push_back(gain);
    co_await asio::post(script_.executor, asio::use_awaitable);
    co_return now + gain;
  }
  Async<void> update_container(const std::string&, const std::string&) override {
    script_.calls.emplace_back("update");
    co_return Status{};
  }
  Async<std::string> metrics(const std::string& id) override {
    std::string values = "metrics of " + id;
    co_return values;
  }
  Async<void> ping() override { co_return script_.at(Step::kPing); }
  Async<uint64_t> wait_oom(const std::string&, uint64_t seen) override {
    if (seen < script_.oom_kills) co_return script_.oom_kills;
    co_return fail(Code::kNotFound, "deleted");
  }
  Async<void> start_process(const std::string& container_id, const std::string& exec_id) override {
    const std::string id = exec_id.empty() ? container_id : exec_id;
    KATA_CO_CHECK(script_.at(Step::kStart));
    if (script_.ends_at_start.contains(id)) {
      script_.end_process(id, 7);
      // Let the exit overtake the answer, as a real agent may.
      co_await asio::post(script_.executor, asio::use_awaitable);
      co_await asio::post(script_.executor, asio::use_awaitable);
    }
    co_return Status{};
  }
  Async<void> signal(const std::string& id, const std::string& exec_id, uint32_t number,
                     bool all) override {
    if (all) script_.calls.push_back("signal all of " + id);
    if (script_.guest_hangs) co_return fail(Code::kDeadlineExceeded, "no answer");
    if (number == SIGTERM && script_.ignores_sigterm.contains(id)) co_return Status{};
    script_.end_process(exec_id.empty() ? id : exec_id, 128 + number);
    co_return Status{};
  }
  Async<agent_client::ProcessExit> wait(const std::string& id,
                                        const std::string& exec_id) override {
    auto promise = script_.exits.at(exec_id.empty() ? id : exec_id);
    co_return co_await promise.wait();
  }
  Async<std::vector<uint32_t>> list_processes(const std::string&) override {
    std::vector<uint32_t> pids{kInitPid, kExecPid};
    co_return pids;
  }
  Async<void> delete_container(const std::string& id) override {
    script_.guest_containers.erase(id);
    co_return Status{};
  }

 private:
  Script& script_;
};

/// Counts on nothing but attach and cancel.
class FakeIo : public sandbox::ProcessIo {
 public:
  bool wants_stdin() const override { return false; }
  bool wants_stdout() const override { return true; }
  bool wants_stderr() const override { return false; }
  void attach(sandbox::StdioStreams streams) override { streams_ = std::move(streams); }
  Async<void> drained() override {
    if (reader_) co_await reader_->wait();
    co_return Status{};
  }
  void close_stdin() override {}
  void process_ended() override {}
  void cancel() override {
    streams_ = {};
    if (reader_) reader_->set(true);
  }

  /// Output counts as read when the test sets `reader`.
  void wait_for_reader(sys::Promise<bool> reader) { reader_ = std::move(reader); }

 private:
  std::optional<sys::Promise<bool>> reader_;
  sandbox::StdioStreams streams_;
};

inline sandbox::Parts make_parts(Script& script) {
  sandbox::Parts parts;
  parts.open_vsock = [&script](auto& run_dir) -> Result<std::unique_ptr<vsock::Backend>> {
    KATA_CHECK(script.at(Step::kOpenVsock));
    return std::make_unique<FakeVsock>(script, run_dir);
  };
  parts.start_share = [&script](auto& run_dir) -> Result<std::unique_ptr<storage::Share>> {
    KATA_CHECK(script.at(Step::kStartShare));
    return std::make_unique<FakeShare>(script, run_dir);
  };
  parts.open_network = [&script]() -> Result<std::unique_ptr<network::PodNetwork>> {
    if (!script.has_network) return nullptr;
    return std::make_unique<FakeNetwork>(script);
  };
  parts.clock_checks.first = std::chrono::milliseconds(0);
  parts.open_storage = [&script](auto&&,
                                 auto&) -> Result<std::unique_ptr<storage::ContainerStorage>> {
    KATA_CHECK(script.at(Step::kOpenStorage));
    return std::make_unique<FakeStorage>(script);
  };
  parts.open_launcher = [&script]() -> Result<std::unique_ptr<hypervisor::Launcher>> {
    KATA_CHECK(script.at(Step::kOpenLauncher));
    return std::make_unique<FakeLauncher>(script);
  };
  parts.host = {.vcpus = 4, .memory_mib = 16384};
  parts.choose_accelerator = [] {
    return Result<hypervisor::Accelerator>(hypervisor::Accelerator::kTcg);
  };
  parts.connect_agent = [&script](UniqueFd) -> std::unique_ptr<agent_client::Agent> {
    return std::make_unique<FakeAgent>(script);
  };
  return parts;
}

}  // namespace kata::fakes
