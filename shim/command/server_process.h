// Re-executing ourselves as the process that serves, and its word back that it is ready.
//
// The serving process gets the listening socket as descriptor kListenFd and the writing end of a
// pipe as kReadyFd. It answers on the pipe once: ready, or what went wrong, which thereby reaches
// the client that asked containerd for the container.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <sys/types.h>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::command {

inline constexpr int kListenFd = 3;
inline constexpr int kReadyFd = 4;

struct ServerProcess {
  std::filesystem::path executable;
  std::vector<std::string> arguments;          // without argv[0]
  std::vector<std::string> extra_environment;  // "NAME=value", over ours
};

/// Starts it in a process group of its own, in our working directory, with the standard streams on
/// /dev/null, and blocks until it is ready. On an error it has ended and been reaped.
/// DeadlineExceeded: no word within 30 s.
Result<pid_t> start_server_process(const ServerProcess& process, const UniqueFd& listener);

/// The other end of the pipe. Destroyed without a word, it tells that the process ended early.
class ReadyReport {
 public:
  /// Takes kReadyFd over if it is a pipe; a process that was started by hand has none.
  static ReadyReport inherited();

  void ready();
  void failed(const Error& error);

 private:
  UniqueFd pipe_;
};

}  // namespace kata::command
