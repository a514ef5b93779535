#include "runtime/sandbox/template.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <string_view>
#include <vector>

#include <boost/asio/signal_set.hpp>
#include <unistd.h>

#include "common/log/log.h"
#include "runtime/sandbox/pod_vm.h"
#include "runtime/sandbox/state.h"

namespace kata::sandbox {
namespace {

constexpr std::string_view kRunDirPrefix = "factory-";

Async<void> abort(std::shared_ptr<PodVm> vm) { co_return co_await vm->abort(); }

/// Whether a run directory's name ends in the pid of a process that cannot be using it: one that
/// has ended, or this one, which has none yet.
bool is_of_the_dead(std::string_view name) {
  name.remove_prefix(kRunDirPrefix.size());
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
  if (error != std::errc() || end != name.data() + name.size() || pid <= 0) return false;
  return pid == ::getpid() || (::kill(pid, 0) != 0 && errno == ESRCH);
}

/// Of calls that were killed: unlike a pod's shim, they have nobody who cleans up after them.
void remove_leftovers_of_others(const std::filesystem::path& state_root) {
  std::vector<std::filesystem::path> dead;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(state_root, none)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(kRunDirPrefix) && is_of_the_dead(name)) dead.push_back(entry.path());
  }
  for (const auto& run_dir : dead)
    if (auto removed = remove_leftovers(run_dir); !removed)
      log::warning("template", {{"error", removed.error().message()}});
}

}  // namespace

Async<void> provide_template(asio::any_io_executor executor, config::Config config) {
  if (config.hypervisor.launcher != config::LauncherChoice::kDirect)
    co_return fail(Code::kFailedPrecondition, "templates need launcher = \"direct\"");
  config.factory.use_template = true;
  SandboxOptions options;
  options.id = "factory";
  options.run_dir_key = fmt::format("{}{}", kRunDirPrefix, ::getpid());
  options.config = config;
  remove_leftovers_of_others(config.runtime.state_root);
  auto vm = std::make_shared<PodVm>(executor, options, make_parts(executor, options));
  asio::signal_set interrupts(executor, SIGINT, SIGTERM);
  interrupts.async_wait([executor, vm](boost::system::error_code cancelled, int) {
    if (!cancelled) asio::co_spawn(executor, abort(vm), asio::detached);
  });
  Status provided = co_await vm->provide_template();
  interrupts.cancel();
  co_return provided;
}

}  // namespace kata::sandbox
