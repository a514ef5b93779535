// kata-agent: PID 1 of the guest, or, for tests, an ordinary process.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <unistd.h>

#include "agent/container/init.h"
#include "agent/container/spawn.h"
#include "agent/isolation/cgroup.h"
#include "agent/isolation/rootfs.h"
#include "agent/network/loopback.h"
#include "agent/rpc/server.h"
#include "agent/sandbox/announcement.h"
#include "agent/sandbox/boot.h"
#include "agent/sandbox/event_loop.h"
#include "agent/sandbox/modules.h"
#include "agent/sandbox/reaper.h"
#include "agent/sandbox/sandbox.h"
#include "agent/sandbox/stream_listener.h"
#include "common/agent_protocol.h"
#include "common/log/log.h"
#include "common/sys/file.h"
#include "common/sys/mount.h"

namespace kata {
namespace {

constexpr const char* kUsage =
    "usage: kata-agent --no-init --listen unix:PATH [--cgroup-root DIR]\n"
    "       kata-agent --version\n"
    "As PID 1 of a guest it takes no arguments.\n";

struct Options {
  bool guest = true;             // PID 1 of a VM
  std::filesystem::path listen;  // socket, when not a guest
  std::filesystem::path cgroup_root = isolation::kCgroupRoot;
};

Result<Options> parse_options(int argc, char** argv) {
  constexpr std::string_view kUnixScheme = "unix:";
  Options options;
  for (int i = 1; i < argc; ++i) {
    std::string_view name = argv[i];
    if (name == "--no-init") {
      options.guest = false;
      continue;
    }
    if (i + 1 == argc) return fail(Code::kInvalidArgument, "{}: unknown or without a value", name);
    std::string_view value = argv[++i];
    if (name == "--listen" && value.starts_with(kUnixScheme)) {
      options.listen = value.substr(kUnixScheme.size());
    } else if (name == "--cgroup-root") {
      options.cgroup_root = value;
    } else {
      return fail(Code::kInvalidArgument, "{} {}: not understood", name, value);
    }
  }
  if (options.guest) return fail(Code::kInvalidArgument, "not PID 1, and no --no-init");
  if (options.listen.empty()) return fail(Code::kInvalidArgument, "--listen unix:PATH is missing");
  return options;
}

/// The host's word, on the kernel's command line.
bool is_told(std::string_view word) {
  constexpr size_t kMaxCommandLineBytes = 16 * 1024;
  auto command_line = sys::read_file("/proc/cmdline", kMaxCommandLineBytes);
  return command_line && command_line->find(word) != std::string::npos;
}

/// What must be there before the host can be told that the agent listens.
Status boot_until_vsock() {
  KATA_CHECK(isolation::make_root_pivotable());
  KATA_CHECK(sandbox::mount_file_systems());
  KATA_CHECK(sandbox::open_console());
  if (is_told("agent.log=debug")) log::set_level(log::Level::kDebug);
  return sandbox::load_boot_modules();
}

/// The rest, while the host connects and sends its first request.
Status boot_the_rest() {
  if (is_told("agent.balloon")) KATA_CHECK(sandbox::load_module_on_demand("virtio_balloon"));
  KATA_CHECK(sandbox::protect_self());
  KATA_CHECK(sandbox::bring_loopback_up());
  return sandbox::enter_own_cgroup();
}

/// Hands on the host's connections.
Status serve_connections(sandbox::EventLoop& loop, sandbox::StreamListener& listener,
                         std::function<void(UniqueFd)> serve) {
  Status watched;
  loop.call([&] {
    auto added = loop.add(listener.descriptor(), EPOLLIN, [&listener, serve](uint32_t) {
      auto connection = listener.accept();
      if (!connection) {
        log::error("no connection of the host", {{"error", connection.error().message()}});
      } else if (*connection) {
        serve(*std::move(connection));
      }
    });
    if (!added) watched = std::unexpected(added.error());
  });
  return watched;
}

/// Inits are executed from a read-only mount of their own: a container can reach /proc/<pid>/exe of
/// its init before the execve and could write to the agent there (CVE-2019-5736).
Result<UniqueFd> open_own_executable() {
  UniqueFd executable(open("/proc/self/exe", O_PATH | O_CLOEXEC));
  if (!executable) return fail_errno("open /proc/self/exe");
  KATA_TRY(UniqueFd mount, sys::clone_mount(executable.get(), false));
  KATA_CHECK(
      sys::set_mount_attributes(mount.get(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, 0, false));
  return mount;
}

/// Everything that serves, in order of construction; alive until the process ends.
struct Agent {
  std::unique_ptr<sandbox::ListenerFactory> listeners;
  std::unique_ptr<sandbox::StreamListener> control;
  /// Of a guest only: a process has its host's loopback.
  std::unique_ptr<sandbox::StreamListener> loopback;
  std::unique_ptr<sandbox::EventLoop> loop;
  std::unique_ptr<sandbox::Reaper> reaper;
  UniqueFd executable;
  std::unique_ptr<sandbox::Sandbox> sandbox;
  std::unique_ptr<rpc::Server> server;

  Status start(const Options& options, std::chrono::microseconds setup_time) {
    KATA_CHECK(sandbox::Reaper::block_signals());
    KATA_TRY(loop, sandbox::EventLoop::start());
    KATA_TRY(reaper, sandbox::Reaper::start(*loop));
    KATA_TRY(executable, open_own_executable());
    container::Environment environment{*loop, *reaper, *listeners, executable.get(),
                                       options.cgroup_root};
    if (options.guest) environment.hugepages = std::make_shared<storage::Hugepages>();
    sandbox = std::make_unique<sandbox::Sandbox>(environment, options.guest, setup_time);
    KATA_TRY(server, rpc::Server::start(*sandbox));
    if (loopback) KATA_CHECK(serve_connections(*loop, *loopback, network::connect_to_loopback));
    return serve_connections(*loop, *control, [this](UniqueFd connection) {
      server->add_connection(std::move(connection));
    });
  }
};

Status run_guest() {
  const auto began = std::chrono::steady_clock::now();
  KATA_CHECK(boot_until_vsock());
  Agent agent;
  agent.listeners = sandbox::make_vsock_listeners();
  KATA_TRY(agent.control, agent.listeners->listen(kAgentPort));
  KATA_TRY(agent.loopback, agent.listeners->listen(kLoopbackPort));
  // From here on the kernel accepts for us: what the host does next and the start of gRPC overlap.
  KATA_TRY(auto announcement, sandbox::Announcement::begin());
  const auto setup_time = std::chrono::steady_clock::now() - began;
  KATA_CHECK(boot_the_rest());
  KATA_CHECK(
      agent.start(Options(), std::chrono::duration_cast<std::chrono::microseconds>(setup_time)));
  KATA_CHECK(announcement->follow(*agent.loop));
  agent.server->run();
  return fail(Code::kInternal, "the gRPC server has ended");
}

sigset_t ending_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

Status run_process(const Options& options) {
  sigset_t signals = ending_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Agent agent;
  std::filesystem::path directory = options.listen.parent_path();
  agent.listeners = sandbox::make_unix_listeners(directory.empty() ? "." : directory);
  KATA_TRY(agent.control, sandbox::listen_at(options.listen));
  KATA_CHECK(agent.start(options, std::chrono::microseconds(0)));
  std::thread stopper([&] {
    sigset_t signals = ending_signals();
    int ignored = 0;
    sigwait(&signals, &ignored);
    // First the containers: calls that wait for their end are answered then.
    agent.sandbox->remove_all();
    agent.server->stop();
  });
  agent.server->run();
  stopper.join();
  return {};
}

int guest_main() {
  Status served = run_guest();
  log::error("the agent cannot go on, the guest ends", {{"error", served.error().message()}});
  sandbox::power_off();
  return EXIT_FAILURE;  // the kernel panics, which ends the VM as well
}

int process_main(int argc, char** argv) {
  auto options = parse_options(argc, argv);
  if (!options) {
    std::fprintf(stderr, "kata-agent: %s\n%s", options.error().message().c_str(), kUsage);
    return EXIT_FAILURE;
  }
  if (auto served = run_process(*options); !served) {
    log::error("the agent cannot go on", {{"error", served.error().message()}});
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace kata

int main(int argc, char** argv) {
  using namespace kata;
  if (argc > 0 && argv[0] == std::string_view(container::kInitName)) {
    return container::run_init(UniqueFd(container::kSyncDescriptor));
  }
  // One heap: its threads hardly ever meet in malloc, and each further one costs the guest memory.
  mallopt(M_ARENA_MAX, 1);
  if (getpid() == 1) return guest_main();
  if (argc == 2 && argv[1] == std::string_view("--version")) {
    std::puts("kata-agent " KATA_VERSION);
    return EXIT_SUCCESS;
  }
  return process_main(argc, argv);
}
