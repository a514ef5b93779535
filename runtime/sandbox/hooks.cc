#include "runtime/sandbox/hooks.h"

#include <csignal>

#include <boost/asio/steady_timer.hpp>
#include <unistd.h>

#include "common/log/log.h"
#include "common/sys/file.h"
#include "runtime/sandbox/guest_spec.h"

namespace kata::sandbox {
namespace {

/// Of each hook; what it says is for one line of a message.
constexpr size_t kOutputKeptBytes = 2048;

std::filesystem::path poststop_note(const std::filesystem::path& bundle) {
  return bundle / "poststop-due";
}

sys::SubprocessOptions options_for(const oci::Hook& hook, const oci::State& state,
                                   HostNamespaces host) {
  std::vector<std::string> arguments = oci::arguments_of(hook);
  sys::SubprocessOptions options;
  options.executable = hook.path;
  options.name = arguments.front();
  options.arguments.assign(arguments.begin() + 1, arguments.end());
  options.environment = hook.env;
  options.mount_namespace = host.mount;
  options.network_namespace = host.network;
  options.directory = state.bundle;
  options.input = oci::to_json(state);
  options.output_kept_bytes = kOutputKeptBytes;
  return options;
}

}  // namespace

struct HookRunner::Run {
  std::unique_ptr<sys::Subprocess> child;
  std::optional<Error> killed;

  void kill(Error reason) {
    if (child->has_ended()) return;
    killed = std::move(reason);
    child->kill_group(SIGKILL);
  }
};

Async<void> HookRunner::run(HookCall call) {
  for (size_t i = 0; i < call.hooks.size(); ++i)
    KATA_CO_CHECK(co_await run_one(call.kind, i, call.hooks[i], call.state));
  co_return Status{};
}

asio::awaitable<void> HookRunner::run_and_log(HookCall call) {
  for (size_t i = 0; i < call.hooks.size(); ++i) {
    Status ran = co_await run_one(call.kind, i, call.hooks[i], call.state);
    if (!ran)
      log::warning("a hook has failed",
                   {{"container", call.state.id}, {"error", ran.error().message()}});
  }
}

Async<void> HookRunner::run_one(std::string kind, size_t index, oci::Hook hook, oci::State state) {
  auto failed = [&](Code code, std::string_view outcome, std::string_view output) {
    return std::unexpected(oci::hook_error(kind, index, hook, code, outcome, output));
  };
  if (stopped_) co_return failed(Code::kCancelled, "not run: the sandbox is being shut down", "");
  auto spawned = sys::Subprocess::spawn(executor_, options_for(hook, state, host_));
  if (!spawned) co_return failed(spawned.error().code(), spawned.error().message(), "");
  auto run = std::make_shared<Run>();
  run->child = *std::move(spawned);
  running_.insert(run);
  asio::steady_timer deadline(executor_);
  if (hook.timeout_s) {
    deadline.expires_after(std::chrono::seconds(*hook.timeout_s));
    deadline.async_wait([run, seconds = *hook.timeout_s](boost::system::error_code error) {
      if (error) return;
      run->kill(Error(Code::kDeadlineExceeded, fmt::format("ran past its {} s", seconds)));
    });
  }
  auto status = co_await run->child->wait();
  deadline.cancel();
  running_.erase(run);
  if (!status) co_return std::unexpected(status.error());
  if (status->success()) co_return Status{};
  const std::string output = run->child->output();
  if (run->killed) co_return failed(run->killed->code(), run->killed->message(), output);
  co_return failed(Code::kAborted, sys::describe(*status), output);
}

void HookRunner::kill_all() {
  stopped_ = true;
  for (const auto& run : running_)
    run->kill(Error(Code::kCancelled, "killed, because the sandbox is being shut down"));
}

Status note_poststop(const std::filesystem::path& bundle) {
  return sys::write_file_atomically(poststop_note(bundle), "", 0600);
}

bool claim_poststop(const std::filesystem::path& bundle) {
  return unlink(poststop_note(bundle).c_str()) == 0;
}

asio::awaitable<void> run_noted_poststop(std::filesystem::path bundle, std::string id) {
  if (!claim_poststop(bundle)) co_return;
  auto read = read_bundle(bundle);
  if (!read) {
    log::error("poststop hooks cannot run", {{"container", id}, {"error", read.error().message()}});
    co_return;
  }
  HookCall call;
  call.kind = "poststop";
  call.hooks = std::move(read->spec.hooks.poststop);
  call.state.id = id;
  call.state.status = oci::kStopped;
  call.state.bundle = bundle;
  call.state.annotations = std::move(read->spec.annotations);
  auto executor = co_await asio::this_coro::executor;
  HookRunner runner(executor, HostNamespaces());
  co_await runner.run_and_log(std::move(call));
}

}  // namespace kata::sandbox
