#include "shim/command/delete.h"

#include <chrono>
#include <filesystem>

#include <signal.h>

#include "common/log/log.h"
#include "common/sys/mount.h"
#include "runtime/config/config.h"
#include "runtime/sandbox/hooks.h"
#include "runtime/sandbox/state.h"
#include "shim/command/bundle.h"
#include "shim/command/running_shim.h"
#include "shim/command/shim_socket.h"
#include "shim/service/shim_messages.h"

namespace kata::command {
namespace {

constexpr uint32_t kKilledStatus = 128 + SIGKILL;

/// Where the sandbox said it keeps its state; where it would, if nothing was said. A container that
/// joined a sandbox has neither: its directory never exists.
Result<std::filesystem::path> run_dir_of(const CommandLine& line, const Bundle& bundle) {
  std::string key = sandbox::run_dir_key(line.address, line.nspace, line.id);
  auto written = bundle.sandbox_dir();
  // The name is checked, because what it names is going to be removed.
  if (written && written->filename() == key) return written;
  KATA_TRY(config::Config config, config::load_default());
  return config.runtime.state_root / key;
}

/// Of a container that the shim could not remove any more.
void run_last_hooks(const CommandLine& line, const Bundle& bundle) {
  std::error_code ignored;
  asio::io_context context(1);
  asio::co_spawn(
      context,
      sandbox::run_noted_poststop(std::filesystem::absolute(bundle.directory(), ignored), line.id),
      asio::detached);
  context.run();
}

/// Answers the pid of the pod's VM, 0 if none is known.
Result<uint32_t> remove_sandbox(const CommandLine& line, const Bundle& bundle) {
  Result<std::filesystem::path> run_dir = run_dir_of(line, bundle);
  if (!run_dir) {
    log::warning("cannot tell where the sandbox kept its state",
                 {{"error", run_dir.error().message()}});
    return 0;
  }
  auto state = sandbox::load_state(*run_dir);
  KATA_CHECK(sandbox::remove_leftovers(*run_dir));
  return state && state->vm.pid > 0 ? static_cast<uint32_t>(state->vm.pid) : 0;
}

}  // namespace

Result<std::string> delete_leftovers(const CommandLine& line) {
  Bundle bundle(line.bundle);
  ShimSocket socket = ShimSocket::of_bundle(line.address, line.nspace, line.id, bundle);
  // containerd takes what is on standard error for warnings.
  log::set_level(line.debug ? log::Level::kDebug : log::Level::kWarning);
  end_running_shim(line, bundle, socket);
  KATA_TRY(uint32_t pid, remove_sandbox(line, bundle));
  if (Status unmounted = sys::unmount_all_at(bundle.rootfs());
      !unmounted && unmounted.error().code() != Code::kNotFound)
    return std::unexpected(unmounted.error().with_stage("unmount the container's rootfs"));
  run_last_hooks(line, bundle);
  socket.remove();
  return service::encode_delete_response(pid, kKilledStatus, std::chrono::system_clock::now());
}

}  // namespace kata::command
