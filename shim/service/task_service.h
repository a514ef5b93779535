// containerd's task service over a Sandbox: translates messages and codes, orders events.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/sys/async.h"
#include "containerd/task.pb.h"
#include "runtime/sandbox/process_io.h"
#include "runtime/sandbox/sandbox.h"
#include "shim/events/event_sink.h"
#include "shim/io/stdio.h"
#include "shim/service/shim_messages.h"
#include "shim/ttrpc/server.h"

namespace kata::service {

namespace api = containerd::task::v2;

/// It may have to wait, for a logger that gets ready.
using IoOpener =
    std::function<Async<std::unique_ptr<sandbox::ProcessIo>>(const io::StdioConfig& stdio)>;

/// Ends the sandbox, unless somebody else still holds it. The Shutdown request is answered when it
/// completes; it must see to it that the process ends after that.
using ShutdownHandler = std::function<asio::awaitable<void>()>;

/// The task service (containerd 1.6, runtime/v2/task/shim.proto). Codes and messages of what a
/// client may do wrong are those of containerd's runc shim, except where that one answers Unknown.
///
/// Events of a container come in the order create, start, exit, delete, whatever the order in which
/// the sandbox learns of them: an exit that arrives while create() or start() is under way waits
/// until their event has been queued. Of an exec: exec-added, exec-started, exit.
///
/// Used on the sandbox's executor. `sandbox` and `events` are borrowed and outlive it; it outlives
/// every call of the server that it was added to.
class TaskService {
 public:
  TaskService(sandbox::Sandbox& sandbox, events::EventSink& events, IoOpener open_io,
              ShutdownHandler shut_down);

  /// Adds every method under `service_name`. The messages of task v3 are the same, so both versions
  /// can be added.
  void add_to(ttrpc::Server& server, const std::string& service_name);

  /// The sandbox's ExitHandler.
  void on_exit(const std::string& container_id, const std::string& exec_id, uint32_t pid,
               const sandbox::ProcessExit& exit);
  /// The sandbox's OomHandler.
  void on_oom(const std::string& container_id);

 private:
  struct Exit {
    std::string exec_id;
    uint32_t pid = 0;
    sandbox::ProcessExit exit;
  };
  struct Container {
    io::StdioConfig stdio;
    std::map<std::string, io::StdioConfig> execs;
    /// Requests under way whose event must come before any exit.
    int events_due = 0;
    std::vector<Exit> held_exits;

    /// Of the init when there is no such exec.
    const io::StdioConfig& stdio_of(const std::string& exec_id) const {
      auto exec = execs.find(exec_id);
      return exec == execs.end() ? stdio : exec->second;
    }
  };
  class EventDue;

  /// Undone when `caller` has gone before its answer: a containerd that was killed meanwhile never
  /// asks for the container again (containerd issue 6860).
  Async<api::CreateTaskResponse> create(api::CreateTaskRequest request, ttrpc::Caller caller);
  Async<std::string> exec(api::ExecProcessRequest request);
  Async<api::StartResponse> start(api::StartRequest request);
  Async<api::DeleteResponse> remove(api::DeleteRequest request);
  Async<std::string> kill(api::KillRequest request);
  Async<api::WaitResponse> wait(api::WaitRequest request);
  Async<api::StateResponse> state(api::StateRequest request);
  Async<api::PidsResponse> pids(api::PidsRequest request);
  Async<std::string> close_io(api::CloseIORequest request);
  Async<std::string> resize_pty(api::ResizePtyRequest request);
  Async<std::string> pause(api::PauseRequest request);
  Async<std::string> resume(api::ResumeRequest request);
  Async<std::string> update(api::UpdateTaskRequest request);
  Async<api::StatsResponse> stats(api::StatsRequest request);
  Async<std::string> checkpoint(api::CheckpointTaskRequest request);
  Async<api::ConnectResponse> connect(api::ConnectRequest request);
  Async<std::string> shutdown(api::ShutdownRequest request);

  using Containers = std::map<std::string, Container>;

  Result<Container*> find(const std::string& id);
  bool has_stopped(const std::string& id, const std::string& exec_id) const;
  void publish_create(const api::CreateTaskRequest& request, uint32_t pid);
  void publish_start(const api::StartRequest& request, uint32_t pid);
  void publish_exit(const std::string& container_id, const Exit& exit);

  sandbox::Sandbox& sandbox_;
  events::EventSink& events_;
  IoOpener open_io_;
  ShutdownHandler shut_down_;
  // Shared with nobody: calls that the end of the event loop destroys see that it has gone.
  std::shared_ptr<Containers> containers_ = std::make_shared<Containers>();
};

}  // namespace kata::service
