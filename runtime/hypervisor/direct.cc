#include "runtime/hypervisor/direct.h"

#include <array>
#include <csignal>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <sys/socket.h>

#include "common/log/log.h"
#include "runtime/hypervisor/command_line.h"
#include "runtime/hypervisor/direct_vm.h"
#include "runtime/hypervisor/preflight.h"

namespace kata::hypervisor {
namespace {

constexpr std::chrono::seconds kMonitorTimeout{30};

Result<std::shared_ptr<RunningQemu>> start_qemu(const asio::any_io_executor& executor,
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
  // One heap for all of QEMU's threads: they hardly ever meet in malloc, and each further one costs
  // memory that is never used again.
  options.environment.emplace_back("MALLOC_ARENA_MAX=1");
  auto running = std::make_shared<RunningQemu>(executor);
  KATA_TRY(running->process, sys::Subprocess::spawn(executor, options));
  // The event handler must not keep the VM alive, and must not outlive it.
  running->qmp = std::make_unique<QmpClient>(
      executor, std::move(ours),
      [weak = std::weak_ptr(running)](const std::string& name, const nlohmann::json& data) {
        if (const auto vm = weak.lock()) vm->handle_event(name, data);
      });
  return running;
}

/// The handshake, or the error of a QEMU that ended or hung instead.
Async<void> await_monitor(std::shared_ptr<RunningQemu> running) {
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
  const Code code = status.signal == SIGKILL ? Code::kAborted : code_of_qemu_output(output);
  co_return fail(code, "QEMU {}", running->describe_end(status));
}

class DirectLauncher final : public Launcher {
 public:
  explicit DirectLauncher(asio::any_io_executor executor) : executor_(std::move(executor)) {}

  Async<std::unique_ptr<Vm>> launch(const VmConfig& config) override {
    KATA_CO_CHECK(check_vm_config(config));
    auto started = start_qemu(executor_, config);
    if (!started) co_return std::unexpected(started.error().with_stage("starting QEMU"));
    const std::shared_ptr<RunningQemu>& running = *started;
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
