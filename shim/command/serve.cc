#include "shim/command/serve.h"

#include <filesystem>

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log/log.h"
#include "common/sys/unix_socket.h"
#include "runtime/config/config.h"
#include "runtime/sandbox/namespaces.h"
#include "runtime/sandbox/state.h"
#include "shim/command/bundle.h"
#include "shim/command/log_output.h"
#include "shim/command/pod_server.h"
#include "shim/command/server_process.h"

namespace kata::command {
namespace {

/// Where we serve: the descriptor, and the path to remove in the end.
struct Listener {
  UniqueFd fd;
  std::filesystem::path path;
};

Result<Listener> open_listener(const CommandLine& line) {
  if (!line.socket.empty()) {
    KATA_TRY(UniqueFd fd, sys::listen_unix(line.socket));
    return Listener{.fd = std::move(fd), .path = line.socket};
  }
  struct stat info {};
  if (fstat(kListenFd, &info) != 0 || !S_ISSOCK(info.st_mode))
    return fail(Code::kFailedPrecondition,
                "descriptor {} is no listening socket: use `start`, or give -socket", kListenFd);
  fcntl(kListenFd, F_SETFD, FD_CLOEXEC);
  // Not from its name: containerd may have said in which directory it belongs.
  KATA_TRY(std::filesystem::path path, sys::bound_path(kListenFd));
  return Listener{.fd = UniqueFd(kListenFd), .path = std::move(path)};
}

Result<config::Config> load_configuration(const CommandLine& line) {
  auto loaded = line.config.empty() ? config::load_default() : config::load_file(line.config);
  if (!loaded && !line.config.empty())
    return std::unexpected(loaded.error().with_stage("the runtime's options"));
  KATA_TRY(config::Config config, std::move(loaded));
  log::set_level(line.debug ? log::Level::kDebug : config.runtime.log_level);
  log::info("configuration loaded", {{"source", config::describe_sources(config)}});
  return config;
}

Result<UniqueFd> open_own_namespace(const char* name) {
  UniqueFd fd(open(fmt::format("/proc/self/ns/{}", name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno(fmt::format("open our {} namespace", name));
  return fd;
}

Status enter_namespaces(const Bundle& bundle) {
  KATA_TRY(Placement placement, bundle.placement());
  KATA_CHECK(sandbox::enter_private_mount_namespace());
  return sandbox::enter_network_namespace(placement.network_namespace);
}

Result<PodServerOptions> prepare(const CommandLine& line, const Bundle& bundle) {
  KATA_TRY(config::Config config, load_configuration(line));
  KATA_TRY(Listener listener, open_listener(line));
  KATA_TRY(UniqueFd host_network, open_own_namespace("net"));
  KATA_TRY(UniqueFd host_mounts, open_own_namespace("mnt"));
  const sandbox::HostNamespaces host{.mount = host_mounts.get(), .network = host_network.get()};
  KATA_CHECK(enter_namespaces(bundle));
  std::string key = sandbox::run_dir_key(line.address, line.nspace, line.id);
  KATA_CHECK(bundle.write_sandbox_dir(config.runtime.state_root / key));
  KATA_CHECK(bundle.write_shim_pid(getpid()));
  return PodServerOptions{.sandbox = {.id = line.id,
                                      .nspace = line.nspace,
                                      .run_dir_key = key,
                                      .config = std::move(config),
                                      .host = host},
                          .listener = std::move(listener.fd),
                          .socket_path = std::move(listener.path),
                          .host_network = std::move(host_network),
                          .host_mounts = std::move(host_mounts)};
}

}  // namespace

Status serve(const CommandLine& line) {
  Bundle bundle(line.bundle);
  signal(SIGPIPE, SIG_IGN);
  log_and_stderr_to_bundle(bundle);
  log::set_context("sandbox", line.id);
  ReadyReport report = ReadyReport::inherited();
  Result<PodServerOptions> options = prepare(line, bundle);
  Status served = options ? serve_pod(*std::move(options), [&] { report.ready(); })
                          : Status(std::unexpected(options.error()));
  if (!served) report.failed(served.error());  // unless it was ready already
  return served;
}

}  // namespace kata::command
