#include "shim/command/start.h"

#include <array>
#include <cerrno>
#include <filesystem>

#include <unistd.h>

#include "common/base/cleanup.h"
#include "shim/command/bootstrap.h"
#include "shim/command/bundle.h"
#include "shim/command/environment.h"
#include "shim/command/log_output.h"
#include "shim/command/process_tuning.h"
#include "shim/command/server_process.h"
#include "shim/command/shim_socket.h"
#include "shim/service/shim_messages.h"

namespace kata::command {
namespace {

constexpr size_t kMaxOptionsBytes = 4 * 1024 * 1024;

/// Everything on stdin; nothing when that is a terminal, where a person tries the command.
Result<std::string> read_options() {
  std::string options;
  if (isatty(STDIN_FILENO)) return options;
  std::array<char, 4096> chunk{};
  for (;;) {
    ssize_t count = read(STDIN_FILENO, chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return options;  // a closed stdin is no options
    options.append(chunk.data(), static_cast<size_t>(count));
    if (options.size() > kMaxOptionsBytes)
      return fail(Code::kResourceExhausted, "the runtime options on stdin are longer than {} bytes",
                  kMaxOptionsBytes);
  }
}

Result<ServerProcess> server_process_for(const CommandLine& line, const std::string& config_path) {
  std::error_code error;
  ServerProcess process;
  process.executable = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail_errno("find our own executable", error.value());
  process.arguments = {"-namespace", line.nspace, "-id", line.id, "-address", line.address};
  if (!line.bundle.empty())
    process.arguments.insert(process.arguments.end(), {"-bundle", line.bundle});
  if (line.debug) process.arguments.emplace_back("-debug");
  // config::load_default() looks there first.
  if (!config_path.empty()) process.extra_environment = {"KATA_CONF_FILE=" + config_path};
  return process;
}

Result<std::string> join_sandbox(const ShimSocket& socket, const Bundle& bundle,
                                 const Placement& placement) {
  if (!socket.is_served())
    return fail(Code::kNotFound, "no shim of sandbox \"{}\" answers on {}: the pod is not running",
                placement.sandbox_id, socket.path().native());
  KATA_CHECK(bundle.write_address(socket.address()));
  return socket.address();
}

Result<std::string> start_sandbox(const CommandLine& line, const ShimSocket& socket,
                                  const Bundle& bundle, const std::string& config_path) {
  KATA_TRY(ServerProcess process, server_process_for(line, config_path));
  CleanupStack cleanup;
  KATA_TRY(UniqueFd listener, socket.listen());
  cleanup.add([&] { socket.remove(); });
  KATA_CHECK(bundle.write_address(socket.address()));
  cleanup.add([&] { bundle.remove_address(); });
  if (!environment_value(kSchedCoreVariable).empty()) KATA_CHECK(enable_core_scheduling());
  KATA_TRY(pid_t pid, start_server_process(process, listener));
  adjust_oom_score(pid);
  cleanup.release();
  return socket.address();
}

}  // namespace

Result<std::string> start(const CommandLine& line) {
  Bundle bundle(line.bundle);
  log_to_bundle(bundle);
  KATA_TRY(std::string options, read_options());
  KATA_TRY(std::string config_path, service::config_path_in_options(options));
  KATA_TRY(Placement placement, bundle.placement());
  bool joins = placement.joins_sandbox(line.id);
  ShimSocket socket(line.address, line.nspace, joins ? placement.sandbox_id : line.id);
  KATA_TRY(std::string address, joins ? join_sandbox(socket, bundle, placement)
                                      : start_sandbox(line, socket, bundle, config_path));
  return bootstrap_answer(address, environment_value(kMaxVersionVariable));
}

}  // namespace kata::command
