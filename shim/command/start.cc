#include "shim/command/start.h"

#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "shim/command/bootstrap.h"
#include "shim/command/bundle.h"
#include "shim/command/environment.h"
#include "shim/command/input.h"
#include "shim/command/log_output.h"
#include "shim/command/process_tuning.h"
#include "shim/command/server_process.h"
#include "shim/command/shim_socket.h"
#include "shim/service/bootstrap_messages.h"

namespace kata::command {
namespace {

Result<ServerProcess> server_process_for(const CommandLine& line,
                                         const service::StartInput& input) {
  std::error_code error;
  ServerProcess process;
  process.executable = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail_errno("find our own executable", error.value());
  process.arguments = {"-namespace", line.nspace, "-id", line.id, "-address", line.address};
  if (!line.bundle.empty())
    process.arguments.insert(process.arguments.end(), {"-bundle", line.bundle});
  if (line.debug) process.arguments.emplace_back("-debug");
  if (!line.config.empty())
    process.arguments.insert(process.arguments.end(), {"-config", line.config});
  if (!input.ttrpc_address.empty() && environment_value(kTtrpcAddressVariable).empty())
    process.extra_environment.push_back(
        fmt::format("{}={}", kTtrpcAddressVariable, input.ttrpc_address));
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

Result<std::string> start_sandbox(CommandLine line, const ShimSocket& socket, const Bundle& bundle,
                                  const service::StartInput& input) {
  if (line.config.empty() && !input.options.config_body.empty()) {
    KATA_TRY(line.config, bundle.write_configuration(input.options.config_body));
  }
  KATA_TRY(ServerProcess process, server_process_for(line, input));
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

Result<std::string> start(CommandLine line) {
  // First of all: a descriptor that is opened before could take the place of a closed stdin.
  KATA_TRY(std::string bytes, read_input(STDIN_FILENO));
  Bundle bundle(line.bundle);
  log_to_bundle(bundle);
  KATA_TRY(service::StartInput input, service::decode_start_input(bytes, line.id, line.nspace));
  if (line.address.empty()) line.address = input.grpc_address;
  line.debug = line.debug || input.debug;
  if (input.socket_directory.empty()) input.socket_directory = kSocketDirectory;
  if (line.config.empty()) line.config = input.options.config_path;

  KATA_TRY(Placement placement, bundle.placement());
  bool joins = placement.joins_sandbox(line.id);
  ShimSocket socket(line.address, line.nspace, joins ? placement.sandbox_id : line.id,
                    input.socket_directory);
  KATA_TRY(std::string address, joins ? join_sandbox(socket, bundle, placement)
                                      : start_sandbox(line, socket, bundle, input));
  if (input.takes_result) return service::encode_bootstrap_result(kTaskServiceVersion, address);
  // containerd 2.0 to 2.2 says 2 to every shim, as 1.7 does, but lets containers into the sandbox
  // of one that answers 3 only.
  if (bundle.is_of_sandbox_controller())
    return bootstrap_answer(address, fmt::to_string(kTaskServiceVersion));
  return bootstrap_answer(address, environment_value(kMaxVersionVariable));
}

}  // namespace kata::command
