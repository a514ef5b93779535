// A process that the agent has started in a container: its init, or an exec.
//
// Lifecycle: create() -> Created -> start() -> Running -> its end -> Stopped. A call that the state
// does not allow answers FailedPrecondition.
//
// Threading: any thread. The one lock guards the state only: no call holds it while it waits for
// the process, so signal(), when_ended() and the rest answer during a start().
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/container/environment.h"
#include "agent/container/process.h"
#include "agent/container/spawn.h"
#include "agent/container/stdio.h"
#include "agent/container/sync.h"
#include "agent/isolation/prepared_mounts.h"
#include "agent/isolation/user_namespace.h"
#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::container {

struct ProcessRequest {
  std::string label;  // for messages: "container c1"
  std::string role;   // for messages: "container init"
  StdioWanted stdio;
  bool terminal = false;
  SpawnRequest spawn;  // without streams and sync socket
  /// Of the container's first process, made by the agent; for it alone.
  isolation::PreparedMounts mounts;
  InitConfig config;
  /// Who owns the streams, so that the process can open /dev/stdout and its like again; as the
  /// mappings of its user namespace have it.
  uid_t uid = 0;
  isolation::IdMappings uids;  // of the container's user namespace, for an exec
  /// Of a process in a user namespace, which may not raise them itself: set when it is ready.
  std::vector<oci::Rlimit> rlimits;
  /// How long the process may take for an answer; 0 is for ever. A process that is born into the
  /// pid namespace of a running container can be stopped by it.
  std::chrono::milliseconds answer_timeout{0};
  /// How often its control group had no memory left, and somebody was to be killed for it.
  std::function<uint64_t()> count_oom;
  /// Runs once, on the loop's thread, when the process has been reaped and before anybody is told.
  std::function<void(ProcessExit&)> at_end;
};

class ContainerProcess : public std::enable_shared_from_this<ContainerProcess> {
 public:
  enum class State { kCreated, kStarting, kRunning, kStopped };

  /// Up to the point where only execve is missing. On failure the process has ended. Errors keep
  /// the code of the first failing step; those of the process begin as runc's do ("unable to start
  /// container process: …").
  static Result<std::shared_ptr<ContainerProcess>> create(const Environment& environment,
                                                          ProcessRequest request);
  ContainerProcess(const ContainerProcess&) = delete;
  ContainerProcess& operator=(const ContainerProcess&) = delete;

  pid_t pid() const { return process_->pid(); }
  /// Refers to the process for as long as this object lives; see setns(2).
  int pidfd() const { return process_->pidfd(); }
  const StdioPorts& ports() const { return ports_; }
  State state() const;

  /// Returns when execve has succeeded, or with its error: the process is Stopped then.
  Status start();
  /// FailedPrecondition while it runs; afterwards no start() is possible.
  Status forbid_start();
  /// In characters. FailedPrecondition: it has no terminal, or has ended.
  Status resize(uint32_t columns, uint32_t rows);
  Status signal(uint32_t signal) const { return process_->signal(signal); }
  /// See Process::when_ended and Process::wait.
  void when_ended(Process::ExitHandler handler) { process_->when_ended(std::move(handler)); }
  std::optional<ProcessExit> wait(std::chrono::milliseconds timeout) const {
    return process_->wait(timeout);
  }
  /// SIGKILL, and waits for the end. Fine if that has come. DeadlineExceeded: it is stuck in the
  /// kernel.
  Status kill() const;
  /// Ends what is still open of its streams.
  void close_stdio();

 private:
  ContainerProcess(const ProcessRequest& request, Stdio stdio, SyncSocket sync);

  Status spawn(const Environment& environment, ProcessRequest& request, UniqueFd init_end);
  Status give_streams(const ProcessRequest& request);
  Status send_configuration(ProcessRequest& request);
  /// Tells the process what to become and waits until it has.
  Status configure(const Environment& environment, ProcessRequest& request);
  Status take_terminal(const Environment& environment, StdioWanted wanted, UniqueFd master);
  Status exchange_start();
  /// The error for a process that has gone without a word.
  Error gone();
  void on_exit(ProcessExit exit);

  const std::string label_;
  const std::string role_;
  const std::function<uint64_t()> count_oom_;
  const uint64_t oom_before_;         // of count_oom_, when the process was to be started
  StdioPorts ports_;                  // never changes after create()
  std::unique_ptr<Process> process_;  // never changes after create()
  std::optional<SyncSocket> sync_;    // used by create(), then by the one start(), which ends it

  mutable std::mutex mutex_;
  State state_ = State::kCreated;  // guarded by mutex_
  std::optional<Stdio> stdio_;     // guarded by mutex_; empty after close_stdio()
};

}  // namespace kata::container
