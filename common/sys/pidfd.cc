#include "common/sys/pidfd.h"

#include <cstdlib>
#include <fstream>
#include <string>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

extern "C" {  // glibc 2.36 forgets to say so itself
#include <sys/pidfd.h>
}

namespace kata::sys {

Result<UniqueFd> open_pidfd(pid_t pid) {
  UniqueFd fd(::pidfd_open(pid, 0));
  if (!fd) {
    const int error_number = errno;
    // ESRCH means "no such process"; code_from_errno cannot know that it names this one.
    if (error_number == ESRCH) return fail(Code::kNotFound, "process {} does not exist", pid);
    return fail_errno(fmt::format("pidfd_open of process {}", pid), error_number);
  }
  return fd;
}

namespace {

/// A number of /proc/<pid>/stat, which proc(5) counts from 1. NotFound: no such process.
Result<uint64_t> stat_field(pid_t pid, int field) {
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(stat, line, '\0') && line.empty())
    return fail(Code::kNotFound, "process {} does not exist", pid);
  // The command (field 2) may hold blanks and parentheses: fields count from the last ')'.
  constexpr int kCommandField = 2;
  size_t position = line.rfind(')');
  for (int i = kCommandField; i < field && position != std::string::npos; ++i)
    position = line.find(' ', position + 1);
  if (position == std::string::npos)
    return fail(Code::kInternal, "/proc/{}/stat has no field {}: '{}'", pid, field, line);
  return std::strtoull(line.c_str() + position + 1, nullptr, 10);
}

}  // namespace

Result<uint64_t> process_start_time(pid_t pid) {
  constexpr int kStartTimeField = 22;
  return stat_field(pid, kStartTimeField);
}

bool is_exiting(pid_t pid) {
  constexpr int kFlagsField = 9;
  constexpr uint64_t kExiting = 0x4;  // PF_EXITING of include/linux/sched.h
  auto flags = stat_field(pid, kFlagsField);
  return !flags || (*flags & kExiting) != 0;
}

Result<UniqueFd> open_process(const ProcessIdentity& process) {
  // Zero and negative pids name process groups to kill(2); none of them is ever meant here.
  if (process.pid <= 0) return fail(Code::kNotFound, "no process was recorded");
  KATA_TRY(UniqueFd fd, open_pidfd(process.pid));
  // Read after the pidfd pins the process: a pid that was reused before shows another start time.
  KATA_TRY(const uint64_t start_time, process_start_time(process.pid));
  if (start_time != process.start_time)
    return fail(Code::kNotFound, "process {} has gone; its pid is another's now", process.pid);
  return fd;
}

Async<void> wait_pidfd(int pidfd) {
  const int copy = ::fcntl(pidfd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) co_return fail_errno("duplicating a pidfd");
  asio::posix::stream_descriptor descriptor(co_await asio::this_coro::executor, copy);
  boost::system::error_code error;
  co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                 asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return fail(Code::kCancelled, "waiting for a process: {}", error.message());
  co_return Status{};
}

Status kill_process(const ProcessIdentity& process, int signal) {
  KATA_TRY(const UniqueFd fd, open_process(process));
  if (::pidfd_send_signal(fd.get(), signal, nullptr, 0) != 0) {
    const int error_number = errno;
    if (error_number == ESRCH)
      return fail(Code::kNotFound, "process {} does not exist", process.pid);
    return fail_errno(fmt::format("signal {} to process {}", signal, process.pid), error_number);
  }
  return {};
}

Status end_process(const ProcessIdentity& process, std::chrono::milliseconds timeout) {
  auto fd = open_process(process);
  if (!fd) {
    if (fd.error().code() == Code::kNotFound) return {};
    return std::unexpected(fd.error());
  }
  if (::pidfd_send_signal(fd->get(), SIGKILL, nullptr, 0) != 0 && errno != ESRCH)
    return fail_errno(fmt::format("killing process {}", process.pid));
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd entry{.fd = fd->get(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready > 0) return {};
    if (ready == 0)
      return fail(Code::kDeadlineExceeded, "process {} still runs {} ms after SIGKILL", process.pid,
                  timeout.count());
    if (errno != EINTR) return fail_errno(fmt::format("waiting for process {}", process.pid));
  }
}

}  // namespace kata::sys
