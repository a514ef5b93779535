// One container of the guest.
//
// Lifecycle: create() -> Created -> start() -> Running -> its init ends -> Stopped -> remove().
// remove() is legal from Created too: the init is killed. A call that the state does not allow
// answers FailedPrecondition; the object stays usable after every error.
//
// Threading: any thread. The one lock guards the state only: no call holds it while it waits for
// the init, so signal(), when_ended() and pids() answer during a start().
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/container/process.h"
#include "agent/container/stdio.h"
#include "agent/container/sync.h"
#include "agent/isolation/cgroup.h"
#include "agent/sandbox/event_loop.h"
#include "agent/sandbox/reaper.h"
#include "agent/sandbox/stream_listener.h"
#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::container {

/// What containers are made with. Borrowed: outlives every container.
struct Environment {
  sandbox::EventLoop& loop;
  sandbox::Reaper& reaper;
  sandbox::ListenerFactory& listeners;
  int init_executable = -1;  // descriptor of kata-agent's own binary
  std::filesystem::path cgroup_root = isolation::kCgroupRoot;
};

struct CreateRequest {
  std::string id;
  std::string spec_json;
  std::string rootfs;  // absolute directory of the guest; replaces root.path
  StdioWanted stdio;
};

class Container : public std::enable_shared_from_this<Container> {
 public:
  /// Up to the point where only execve is missing. On failure nothing is left. Errors keep the code
  /// of the first failing step; messages of the init begin as runc's do ("unable to start container
  /// process: …").
  static Result<std::shared_ptr<Container>> create(const Environment& environment,
                                                   const CreateRequest& request);
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  pid_t pid() const { return init_->pid(); }
  const StdioPorts& ports() const { return ports_; }

  /// Returns when execve has succeeded, or with its error: the container is Stopped then.
  Status start();
  /// To the init, or to every process of the container. NotFound: the init has ended.
  Status signal(uint32_t signal, bool all);
  /// See Process::when_ended.
  void when_ended(Process::ExitHandler handler) { init_->when_ended(std::move(handler)); }
  Result<std::vector<pid_t>> pids() const { return cgroup_.pids(); }
  /// Kills what is left, removes the control group. FailedPrecondition while the init runs.
  /// Harmless when repeated.
  Status remove();
  /// The same, but a running container is killed.
  Status kill_and_remove();

 private:
  enum class State { kCreated, kStarting, kRunning, kStopped };

  Container(std::string id, isolation::Cgroup cgroup, Stdio stdio, SyncSocket sync);

  Status spawn(const Environment& environment, const oci::Spec& spec, UniqueFd init_end);
  /// Tells the init what to become and waits until it has.
  Status configure(const CreateRequest& request);
  Status exchange_start();
  /// The error for an init that has gone without a word.
  Error init_gone();
  void on_exit(uint32_t status);
  std::optional<Stdio> take_stdio();

  const std::string id_;
  isolation::Cgroup cgroup_;
  const StdioPorts ports_;
  bool own_pid_namespace_ = false;
  std::shared_ptr<Process> init_;  // never changes after create()
  SyncSocket sync_;                // used by create(), then by the one start()

  mutable std::mutex mutex_;
  State state_ = State::kCreated;  // guarded by mutex_
  std::optional<Stdio> stdio_;     // guarded by mutex_; empty after the end of the init
};

}  // namespace kata::container
