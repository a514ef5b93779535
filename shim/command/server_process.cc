#include "shim/command/server_process.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/cleanup.h"

namespace kata::command {
namespace {

constexpr std::chrono::seconds kReadyLimit{30};
constexpr size_t kMaxReportBytes = 16 * 1024;
// "<code> <message>": code 0 and no message is ready.
constexpr std::string_view kReadyWord = "0 ";
// Above the two numbers that the child gets, so that dup2 cannot overwrite one by the other.
constexpr int kFirstFreeFd = kReadyFd + 1;

class SpawnSettings {
 public:
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }

  void prepare(int listener, int ready) {
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, listener, kListenFd);
    posix_spawn_file_actions_adddup2(&actions_, ready, kReadyFd);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes_, 0);
  }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Later entries win for getenv only if earlier ones of the same name are gone.
std::vector<std::string> environment_with(const std::vector<std::string>& extra) {
  std::vector<std::string> merged = extra;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string_view text(*entry);
    std::string_view name = text.substr(0, text.find('='));
    bool replaced = false;
    for (const std::string& added : extra)
      replaced = replaced || added.starts_with(fmt::format("{}=", name));
    if (!replaced) merged.emplace_back(text);
  }
  return merged;
}

Result<pid_t> spawn(const ServerProcess& process, int listener, int ready) {
  SpawnSettings settings;
  settings.prepare(listener, ready);
  std::vector<std::string> arguments = {process.executable.native()};
  arguments.insert(arguments.end(), process.arguments.begin(), process.arguments.end());
  std::vector<std::string> environment = environment_with(process.extra_environment);
  pid_t pid = -1;
  int error =
      posix_spawn(&pid, process.executable.c_str(), settings.actions(), settings.attributes(),
                  pointers_to(arguments).data(), pointers_to(environment).data());
  if (error != 0) return fail_errno(fmt::format("start {}", process.executable.native()), error);
  return pid;
}

/// Everything until the end of the pipe.
Result<std::string> read_report(int pipe) {
  auto deadline = std::chrono::steady_clock::now() + kReadyLimit;
  std::string report;
  std::array<char, 4096> chunk{};
  while (report.size() < kMaxReportBytes) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd waiting{.fd = pipe, .events = POLLIN, .revents = 0};
    int count = poll(&waiting, 1, std::max(0, static_cast<int>(left.count())));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      return fail(Code::kDeadlineExceeded, "the serving process was not ready within {} s",
                  kReadyLimit.count());
    ssize_t got = read(pipe, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read the serving process's report");
    if (got == 0) break;
    report.append(chunk.data(), static_cast<size_t>(got));
  }
  return report;
}

Status judge(const std::string& report) {
  if (report == kReadyWord) return {};
  size_t space = report.find(' ');
  if (space == std::string::npos)
    return fail(Code::kInternal, "the serving process ended before it was ready");
  return std::unexpected(
      Error(code_from_wire(std::atoi(report.c_str())), report.substr(space + 1)));
}

void end(pid_t pid) {
  kill(pid, SIGKILL);
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

Result<pid_t> start_server_process(const ServerProcess& process, const UniqueFd& listener) {
  UniqueFd high_listener(fcntl(listener.get(), F_DUPFD_CLOEXEC, kFirstFreeFd));
  if (!high_listener) return fail_errno("duplicate the listening socket");
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("create a pipe");
  UniqueFd reading(ends[0]);
  UniqueFd low_writing(ends[1]);
  UniqueFd writing(fcntl(low_writing.get(), F_DUPFD_CLOEXEC, kFirstFreeFd));
  if (!writing) return fail_errno("duplicate a pipe");
  low_writing.reset();

  KATA_TRY(pid_t pid, spawn(process, high_listener.get(), writing.get()));
  writing.reset();  // so that the child's death ends the pipe
  CleanupStack cleanup;
  cleanup.add([pid] { end(pid); });
  KATA_TRY(std::string report, read_report(reading.get()));
  KATA_CHECK(judge(report));
  cleanup.release();
  return pid;
}

ReadyReport ReadyReport::inherited() {
  ReadyReport report;
  struct stat info {};
  if (fstat(kReadyFd, &info) != 0 || !S_ISFIFO(info.st_mode)) return report;
  report.pipe_.reset(kReadyFd);
  fcntl(kReadyFd, F_SETFD, FD_CLOEXEC);
  return report;
}

void ReadyReport::ready() {
  if (pipe_) [[maybe_unused]]
    ssize_t ignored = write(pipe_.get(), kReadyWord.data(), kReadyWord.size());
  pipe_.reset();
}

void ReadyReport::failed(const Error& error) {
  std::string text = fmt::format("{} {}", static_cast<int>(error.code()), error.message());
  text.resize(std::min(text.size(), kMaxReportBytes));
  if (pipe_) [[maybe_unused]]
    ssize_t ignored = write(pipe_.get(), text.data(), text.size());
  pipe_.reset();
}

}  // namespace kata::command
