// Child processes of the shim: QEMU, virtiofsd and short-lived probes.
//
// A child starts in a session of its own, with the default signal dispositions, an empty signal
// mask, stdin on /dev/null or a file of given bytes, stdout and stderr on a pipe whose last bytes
// are kept for error messages, and no other descriptor than those that are passed.
//
// With `kill_with_parent` the kernel kills the child (SIGKILL, PR_SET_PDEATHSIG of prctl(2)) when
// the *thread* that spawned it ends: spawn from a thread that lives as long as the process (in the
// shim the one that runs the io_context), never from a worker.
//
// Nobody else in the process may wait for any child (waitpid(-1), SIGCHLD set to SIG_IGN): the exit
// status would be lost.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "common/sys/async.h"
#include "common/sys/exit_status.h"
#include "common/sys/pidfd.h"

namespace kata::sys {

struct SubprocessOptions {
  /// Absolute path.
  std::filesystem::path executable;
  /// argv[0]; empty: the executable.
  std::string name;
  /// argv[1] and on.
  std::vector<std::string> arguments;
  /// "NAME=value"; nothing is inherited.
  std::vector<std::string> environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  /// Borrowed until spawn() returns. The i-th becomes descriptor kFirstPassedFd + i in the child.
  std::vector<int> passed_fds;
  bool kill_with_parent = true;
  /// A descriptor of the network namespace to start in, borrowed until spawn() returns; needs
  /// CAP_SYS_ADMIN. -1: the calling thread's.
  int network_namespace = -1;
  /// The same of a mount namespace, in which the executable's path is then looked up.
  int mount_namespace = -1;
  /// To start in, a path of that mount namespace; empty: the caller's working directory.
  std::filesystem::path directory;
  /// What the child reads from its stdin.
  std::optional<std::string> input;
  /// How much of the end of stdout and stderr is kept.
  size_t output_kept_bytes = 4096;
};

inline constexpr int kFirstPassedFd = 3;

/// One child. Used on one executor, and on its only thread. Destroying a Subprocess whose child
/// still runs kills it (SIGKILL); it is reaped as long as the executor runs.
class Subprocess {
 public:
  /// NotFound: no such executable. PermissionDenied: not executable. Blocks until the exec has
  /// happened (the calling thread is suspended as with vfork).
  static Result<std::unique_ptr<Subprocess>> spawn(asio::any_io_executor executor,
                                                   const SubprocessOptions& options);
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  const ProcessIdentity& identity() const;
  pid_t pid() const { return identity().pid; }

  /// Completes when the child has ended, has been reaped and its output has been read. Any number
  /// of waiters; also after the end.
  Async<ExitStatus> wait();

  bool has_ended() const;

  /// A child that has ended is no error.
  Status kill(int signal);
  /// To everything that is still in the process group which the child leads. Nothing, when the
  /// child has ended.
  void kill_group(int signal);

  /// The last of what the child wrote to stdout and stderr, control characters replaced, without
  /// trailing blanks.
  std::string output() const;

 private:
  struct State;
  explicit Subprocess(std::shared_ptr<State> state) : state_(std::move(state)) {}
  static asio::awaitable<void> read_output(std::shared_ptr<State> state);
  static asio::awaitable<void> reap(std::shared_ptr<State> state);
  static Async<ExitStatus> wait(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
};

}  // namespace kata::sys
