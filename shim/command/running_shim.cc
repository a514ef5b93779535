#include "shim/command/running_shim.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
extern "C" {  // glibc 2.36 forgets to say so itself
#include <sys/pidfd.h>
}

#include "common/log/log.h"
#include "common/sys/file.h"
#include "common/sys/pidfd.h"
#include "shim/service/sandbox_service.h"
#include "shim/service/shim_messages.h"
#include "shim/ttrpc/client.h"

namespace kata::command {
namespace {

constexpr std::chrono::milliseconds kShutdownLimit{2000};
constexpr std::chrono::milliseconds kExitLimit{1000};
constexpr size_t kMaxCommandLineBytes = 64 * 1024;

/// Its arguments, each ended by a NUL.
bool serves(pid_t pid, const CommandLine& line) {
  using std::string_literals::operator""s;
  auto arguments = sys::read_file(fmt::format("/proc/{}/cmdline", pid), kMaxCommandLineBytes);
  if (!arguments) return false;
  std::string wanted = "\0-namespace\0"s + line.nspace + "\0-id\0"s + line.id + "\0"s;
  return arguments->find(wanted) != std::string::npos;
}

/// Not found: it has ended, or its pid is another process's by now.
Result<UniqueFd> open_shim(const CommandLine& line, const Bundle& bundle) {
  KATA_TRY(pid_t pid, bundle.shim_pid());
  KATA_TRY(UniqueFd process, sys::open_pidfd(pid));
  if (!serves(pid, line)) return fail(Code::kNotFound, "the shim has ended");
  return process;
}

bool ended_within(const UniqueFd& process, std::chrono::milliseconds limit) {
  auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd waiting{.fd = process.get(), .events = POLLIN, .revents = 0};
    int count = poll(&waiting, 1, std::max(0, static_cast<int>(left.count())));
    if (count < 0 && errno == EINTR) continue;
    return count > 0;
  }
}

/// Of the sandbox, which its containers do not hold back; a shim of an older version has no such
/// service, and one task service.
Async<void> request_shutdown(asio::any_io_executor executor, std::filesystem::path socket,
                             std::string id) {
  KATA_CO_TRY(auto client, co_await ttrpc::Client::connect(executor, std::move(socket)));
  auto answer = co_await client->call(service::kSandboxService, "ShutdownSandbox",
                                      service::encode_shutdown_sandbox(id), kShutdownLimit);
  if (!answer && answer.error().code() == Code::kUnimplemented)
    answer = co_await client->call(service::kTaskServiceV2, "Shutdown",
                                   service::encode_shutdown_now(id), kShutdownLimit);
  KATA_CO_CHECK(answer);
  co_return Status{};
}

void ask_to_shut_down(const CommandLine& line, const ShimSocket& socket) {
  asio::io_context context(1);
  asio::co_spawn(
      context, request_shutdown(context.get_executor(), socket.path(), line.id),
      [](std::exception_ptr, Status asked) {
        if (!asked)
          log::warning("the shim did not shut down", {{"error", asked.error().message()}});
      });
  context.run();
}

}  // namespace

void end_running_shim(const CommandLine& line, const Bundle& bundle, const ShimSocket& socket) {
  Result<UniqueFd> process = open_shim(line, bundle);
  if (!process) return;
  if (socket.is_served()) ask_to_shut_down(line, socket);
  if (ended_within(*process, kExitLimit)) return;
  log::warning("killing a shim that does not end", {{"id", line.id}});
  pidfd_send_signal(process->get(), SIGKILL, nullptr, 0);
  ended_within(*process, kExitLimit);
}

}  // namespace kata::command
