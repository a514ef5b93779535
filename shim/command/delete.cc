#include "shim/command/delete.h"

#include <chrono>
#include <filesystem>

#include <signal.h>

#include "common/log/log.h"
#include "common/sys/mount.h"
#include "runtime/config/config.h"
#include "runtime/sandbox/state.h"
#include "shim/command/bundle.h"
#include "shim/command/running_shim.h"
#include "shim/command/shim_socket.h"
#include "shim/service/shim_messages.h"

namespace kata::command {
namespace {

constexpr uint32_t kKilledStatus = 128 + SIGKILL;

/// Where the sandbox said it keeps its state; where it would by now, if it did not get that far.
Result<std::filesystem::path> run_dir_of(const CommandLine& line, const Bundle& bundle) {
  std::string key = sandbox::run_dir_key(line.address, line.nspace, line.id);
  auto written = bundle.sandbox_dir();
  // The name is checked, because what it names is going to be removed.
  if (written && written->filename() == key) return written;
  KATA_TRY(config::Config config, config::load_default());
  return config.runtime.state_root / key;
}

uint32_t vm_pid_of(const std::filesystem::path& run_dir) {
  auto state = sandbox::load_state(run_dir);
  return state && state->vm.pid > 0 ? static_cast<uint32_t>(state->vm.pid) : 0;
}

}  // namespace

Result<std::string> delete_leftovers(const CommandLine& line) {
  Bundle bundle(line.bundle);
  ShimSocket socket(line.address, line.nspace, line.id);
  end_running_shim(line, bundle, socket);

  KATA_TRY(std::filesystem::path run_dir, run_dir_of(line, bundle));
  uint32_t pid = vm_pid_of(run_dir);
  KATA_CHECK(sandbox::remove_leftovers(run_dir));
  if (Status unmounted = sys::unmount_all_at(bundle.rootfs());
      !unmounted && unmounted.error().code() != Code::kNotFound)
    return std::unexpected(unmounted.error().with_stage("unmount the container's rootfs"));
  socket.remove();
  return service::encode_delete_response(pid, kKilledStatus, std::chrono::system_clock::now());
}

}  // namespace kata::command
