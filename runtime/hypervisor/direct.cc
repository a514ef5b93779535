#include "runtime/hypervisor/direct.h"

#include <array>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <sys/socket.h>

#include "common/log/log.h"
#include "common/sys/promise.h"
#include "common/sys/subprocess.h"
#include "runtime/hypervisor/command_line.h"
#include "runtime/hypervisor/preflight.h"
#include "runtime/hypervisor/qmp.h"

namespace kata::hypervisor {
namespace {

constexpr std::chrono::seconds kMonitorTimeout{30};

/// What outlives a DirectVm as long as somebody waits for its end.
struct Running {
  std::unique_ptr<sys::Subprocess> process;
  std::unique_ptr<QmpClient> qmp;
  /// SHUTDOWN event's reason ("guest-reset", "guest-shutdown", …), empty until then.
  std::string shutdown_reason;
};

std::string one_line(std::string text) {
  for (size_t at; (at = text.find('\n')) != std::string::npos;) text.replace(at, 1, "; ");
  return text;
}

std::string describe_end(const Running& running, const sys::ExitStatus& status) {
  std::string text = sys::describe(status);
  if (running.shutdown_reason == "guest-reset")
    text += " after the guest reset itself (a kernel panic does)";
  else if (!running.shutdown_reason.empty())
    text += fmt::format(" after {}", running.shutdown_reason);
  const std::string output = one_line(running.process->output());
  if (!output.empty()) text += ": " + output;
  return text;
}

class DirectVm final : public Vm {
 public:
  explicit DirectVm(std::shared_ptr<Running> running) : running_(std::move(running)) {
    const auto& process = running_->process->identity();
    identity_.pid = process.pid;
    identity_.pid_start_time = process.start_time;
  }
  ~DirectVm() override { (void)running_->process->kill(SIGKILL); }

  const VmIdentity& identity() const override { return identity_; }
  Async<std::string> wait_exit() override { return wait_exit(running_); }
  Async<void> stop() override { return stop(running_); }

 private:
  static Async<std::string> wait_exit(std::shared_ptr<Running> running) {
    KATA_CO_TRY(const sys::ExitStatus status, co_await running->process->wait());
    // Its last event may still be in the socket.
    co_await running->qmp->wait_closed();
    co_return describe_end(*running, status);
  }

  static Async<void> stop(std::shared_ptr<Running> running) {
    // Nothing in QEMU needs a goodbye: guest data is in the kernel's page cache or in virtiofsd.
    KATA_CO_CHECK(running->process->kill(SIGKILL));
    KATA_CO_CHECK(co_await running->process->wait());
    co_return Status{};
  }

  std::shared_ptr<Running> running_;
  VmIdentity identity_;
};

Result<std::shared_ptr<Running>> start_qemu(const asio::any_io_executor& executor,
                                            const VmConfig& config) {
  std::array<int, 2> pair;
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
    return fail_errno("creating the monitor's socket pair");
  UniqueFd ours(pair[0]);
  const UniqueFd qemus(pair[1]);
  KATA_TRY(CommandLine line, render_command_line(config, qemus.get()));
  sys::SubprocessOptions options;
  options.executable = config.qemu_path;
  options.arguments = std::move(line.arguments);
  options.passed_fds = std::move(line.fds);
  auto running = std::make_shared<Running>();
  KATA_TRY(running->process, sys::Subprocess::spawn(executor, options));
  // The event handler must not keep the VM alive, and must not outlive it.
  running->qmp = std::make_unique<QmpClient>(
      executor, std::move(ours),
      [weak = std::weak_ptr(running)](const std::string& name, const nlohmann::json& data) {
        const auto vm = weak.lock();
        if (!vm || name != "SHUTDOWN") return;
        const auto reason = data.find("reason");
        if (reason != data.end() && reason->is_string()) vm->shutdown_reason = *reason;
      });
  return running;
}

/// The handshake, or the error of a QEMU that ended or hung instead.
Async<void> await_monitor(std::shared_ptr<Running> running) {
  using namespace asio::experimental::awaitable_operators;
  asio::steady_timer deadline(co_await asio::this_coro::executor, kMonitorTimeout);
  auto outcome = co_await (running->qmp->handshake() || deadline.async_wait(asio::use_awaitable));
  if (outcome.index() == 1)
    co_return fail(Code::kDeadlineExceeded, "QEMU's monitor did not answer within {} s",
                   kMonitorTimeout.count());
  Status answered = std::get<0>(std::move(outcome));
  if (answered) co_return Status{};
  if (answered.error().code() != Code::kUnavailable) co_return answered;
  // The monitor is closed: QEMU is ending, and its stderr says why.
  KATA_CO_TRY(const sys::ExitStatus status, co_await running->process->wait());
  const std::string output = running->process->output();
  co_return fail(code_of_qemu_output(output), "QEMU {}", describe_end(*running, status));
}

class DirectLauncher final : public Launcher {
 public:
  explicit DirectLauncher(asio::any_io_executor executor) : executor_(std::move(executor)) {}

  Async<std::unique_ptr<Vm>> launch(const VmConfig& config) override {
    KATA_CO_CHECK(check_vm_config(config));
    auto started = start_qemu(executor_, config);
    if (!started) co_return std::unexpected(started.error().with_stage("starting QEMU"));
    const std::shared_ptr<Running>& running = *started;
    auto vm = std::make_unique<DirectVm>(running);
    Status answered = co_await await_monitor(running);
    if (!answered) co_return std::unexpected(answered.error().with_stage("starting QEMU"));
    log::info("QEMU runs", {{"pid", std::to_string(vm->identity().pid)},
                            {"version", running->qmp->qemu_version()}});
    co_return std::unique_ptr<Vm>(std::move(vm));
  }

 private:
  asio::any_io_executor executor_;
};

}  // namespace

Result<std::unique_ptr<Launcher>> make_direct_launcher(asio::any_io_executor executor) {
  return std::make_unique<DirectLauncher>(std::move(executor));
}

}  // namespace kata::hypervisor
