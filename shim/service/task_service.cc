#include "shim/service/task_service.h"

#include <utility>

#include <unistd.h>

#include "common/base/id.h"
#include "common/log/log.h"
#include "containerd/task_events.pb.h"
#include "shim/events/timestamp.h"

namespace kata::service {
namespace {

constexpr uint32_t kHighestSignal = 64;
containerd::v1::types::Status status_of(sandbox::ProcessStatus status) {
  switch (status) {
    case sandbox::ProcessStatus::kCreated:
      return containerd::v1::types::CREATED;
    case sandbox::ProcessStatus::kRunning:
      return containerd::v1::types::RUNNING;
    case sandbox::ProcessStatus::kStopped:
      return containerd::v1::types::STOPPED;
    case sandbox::ProcessStatus::kPaused:
      return containerd::v1::types::PAUSED;
    case sandbox::ProcessStatus::kUnknown:
      break;
  }
  return containerd::v1::types::UNKNOWN;
}

Status validate(const api::CreateTaskRequest& request) {
  KATA_CHECK(validate_id("container id", request.id()));
  if (!request.bundle().starts_with('/'))
    return fail(Code::kInvalidArgument, "bundle \"{}\" is not an absolute path", request.bundle());
  if (!request.checkpoint().empty())
    return fail(Code::kUnimplemented, "create from a checkpoint is not supported by kata");
  return {};
}

std::vector<sandbox::RootfsMount> rootfs_of(const api::CreateTaskRequest& request) {
  std::vector<sandbox::RootfsMount> mounts;
  for (const auto& mount : request.rootfs())
    mounts.push_back({.type = mount.type(),
                      .source = mount.source(),
                      .options = {mount.options().begin(), mount.options().end()}});
  return mounts;
}

}  // namespace

/// While it lives, exits of the container are held back.
class TaskService::EventDue {
 public:
  EventDue(TaskService& service, std::string id)
      : service_(service), containers_(service.containers_), id_(std::move(id)) {
    ++service.containers_->at(id_).events_due;
  }
  EventDue(const EventDue&) = delete;
  EventDue& operator=(const EventDue&) = delete;
  ~EventDue() {
    auto containers = containers_.lock();
    if (!containers) return;  // and the service with them
    auto found = containers->find(id_);
    if (found == containers->end() || --found->second.events_due > 0) return;
    for (const Exit& exit : std::exchange(found->second.held_exits, {}))
      service_.publish_exit(id_, exit);
  }

 private:
  TaskService& service_;
  std::weak_ptr<Containers> containers_;
  std::string id_;
};

TaskService::TaskService(sandbox::Sandbox& sandbox, events::EventSink& events, IoOpener open_io,
                         ShutdownHandler shut_down)
    : sandbox_(sandbox),
      events_(events),
      open_io_(std::move(open_io)),
      shut_down_(std::move(shut_down)) {}

Async<api::CreateTaskResponse> TaskService::create(api::CreateTaskRequest request,
                                                   ttrpc::Caller caller) {
  KATA_CO_CHECK(validate(request));
  // A configuration inside the options has been taken from those of `start`.
  KATA_CO_TRY(const RuntimeOptions options,
              decode_runtime_options(request.options().SerializeAsString()));
  io::StdioConfig stdio{.in = request.stdin(),
                        .out = request.stdout(),
                        .err = request.stderr(),
                        .terminal = request.terminal(),
                        .id = request.id()};
  auto [record, is_new] = containers_->try_emplace(request.id());
  if (!is_new)
    co_return fail(Code::kAlreadyExists, "container \"{}\" exists already", request.id());
  record->second.stdio = stdio;
  EventDue due(*this, request.id());

  Result<std::unique_ptr<sandbox::ProcessIo>> process_io = co_await open_io_(stdio);
  if (!process_io) {
    containers_->erase(request.id());
    co_return std::unexpected(process_io.error().with_stage("open the container's stdio"));
  }
  sandbox::CreateContainer wanted{.id = request.id(),
                                  .bundle = request.bundle(),
                                  .rootfs = rootfs_of(request),
                                  .io = std::move(*process_io),
                                  .config_path = options.config_path};
  Result<uint32_t> pid = co_await sandbox_.create(std::move(wanted));
  if (!pid) {
    containers_->erase(request.id());
    co_return std::unexpected(std::move(pid).error());
  }
  if (caller.has_gone()) {
    log::warning("nobody waits for the container any more", {{"container", request.id()}});
    auto removed = co_await sandbox_.remove(request.id(), "");
    if (!removed)
      log::error("undo a create",
                 {{"container", request.id()}, {"error", removed.error().message()}});
    containers_->erase(request.id());
    co_return fail(Code::kCancelled, "the client has gone");
  }
  publish_create(request, *pid);
  api::CreateTaskResponse response;
  response.set_pid(*pid);
  co_return response;
}

Async<api::StartResponse> TaskService::start(api::StartRequest request) {
  KATA_CO_CHECK(find(request.id()));
  EventDue due(*this, request.id());
  KATA_CO_TRY(uint32_t pid, co_await sandbox_.start(request.id(), request.exec_id()));
  publish_start(request, pid);
  api::StartResponse response;
  response.set_pid(pid);
  co_return response;
}

Async<api::DeleteResponse> TaskService::remove(api::DeleteRequest request) {
  KATA_CO_CHECK(find(request.id()));
  KATA_CO_TRY(sandbox::RemovedProcess removed,
              co_await sandbox_.remove(request.id(), request.exec_id()));
  api::DeleteResponse response;
  response.set_pid(removed.pid);
  response.set_exit_status(removed.exit.status);
  events::set_timestamp(*response.mutable_exited_at(), removed.exit.at);
  if (!request.exec_id().empty()) {
    // Its container may have gone meanwhile. Clients expect no event.
    if (auto container = find(request.id())) (*container)->execs.erase(request.exec_id());
    co_return response;
  }
  containers_->erase(request.id());
  containerd::events::TaskDelete event;
  event.set_container_id(request.id());
  event.set_pid(response.pid());
  event.set_exit_status(response.exit_status());
  *event.mutable_exited_at() = response.exited_at();
  events_.publish(events::kTopicDelete, event);
  co_return response;
}

Async<std::string> TaskService::kill(api::KillRequest request) {
  KATA_CO_CHECK(find(request.id()));
  if (request.signal() > kHighestSignal)
    co_return fail(Code::kInvalidArgument, "signal {} does not exist, the highest is {}",
                   request.signal(), kHighestSignal);
  // containerd's clients tell this code from a failure to kill.
  if (has_stopped(request.id(), request.exec_id()))
    co_return fail(Code::kNotFound, "process already finished");
  Status killed =
      co_await sandbox_.kill(request.id(), request.exec_id(), request.signal(), request.all());
  if (!killed && has_stopped(request.id(), request.exec_id()))
    co_return fail(Code::kNotFound, "process already finished");
  KATA_CO_CHECK(killed);
  co_return kEmptyMessage;
}

Async<api::WaitResponse> TaskService::wait(api::WaitRequest request) {
  KATA_CO_CHECK(find(request.id()));
  KATA_CO_TRY(sandbox::ProcessExit exit, co_await sandbox_.wait(request.id(), request.exec_id()));
  api::WaitResponse response;
  response.set_exit_status(exit.status);
  events::set_timestamp(*response.mutable_exited_at(), exit.at);
  co_return response;
}

Async<api::StateResponse> TaskService::state(api::StateRequest request) {
  KATA_CO_TRY(Container * container, find(request.id()));
  KATA_CO_TRY(sandbox::ProcessState state, sandbox_.state(request.id(), request.exec_id()));
  api::StateResponse response;
  const io::StdioConfig& stdio = container->stdio_of(request.exec_id());
  response.set_id(request.exec_id().empty() ? request.id() : request.exec_id());
  response.set_exec_id(request.exec_id());
  response.set_bundle(state.bundle.native());
  response.set_pid(state.pid);
  response.set_status(status_of(state.status));
  response.set_stdin(stdio.in);
  response.set_stdout(stdio.out);
  response.set_stderr(stdio.err);
  response.set_terminal(stdio.terminal);
  if (state.status == sandbox::ProcessStatus::kStopped) {
    response.set_exit_status(state.exit.status);
    events::set_timestamp(*response.mutable_exited_at(), state.exit.at);
  }
  co_return response;
}

Async<api::ConnectResponse> TaskService::connect(api::ConnectRequest request) {
  api::ConnectResponse response;
  response.set_shim_pid(static_cast<uint32_t>(getpid()));
  // An unknown id is no error: containerd asks this way whether the shim lives.
  if (auto state = sandbox_.state(request.id(), "")) response.set_task_pid(state->pid);
  co_return response;
}

Async<std::string> TaskService::shutdown(api::ShutdownRequest request) {
  // One shim serves a whole pod, and containerd sends this after each of its containers.
  bool in_use = !containers_->empty() || sandbox_.has_containers();
  if (!in_use || request.now()) co_await shut_down_();
  co_return kEmptyMessage;
}

void TaskService::on_exit(const std::string& container_id, const std::string& exec_id, uint32_t pid,
                          const sandbox::ProcessExit& exit) {
  auto found = containers_->find(container_id);
  if (found == containers_->end()) {
    log::debug("a process of a deleted container ended", {{"container", container_id}});
    return;
  }
  Exit ended{.exec_id = exec_id, .pid = pid, .exit = exit};
  if (found->second.events_due > 0)
    found->second.held_exits.push_back(std::move(ended));
  else
    publish_exit(container_id, ended);
}

Result<TaskService::Container*> TaskService::find(const std::string& id) {
  auto found = containers_->find(id);
  if (found == containers_->end()) return fail(Code::kNotFound, "container not created");
  return &found->second;
}

bool TaskService::has_stopped(const std::string& id, const std::string& exec_id) const {
  auto state = sandbox_.state(id, exec_id);
  return state && state->status == sandbox::ProcessStatus::kStopped;
}

void TaskService::publish_create(const api::CreateTaskRequest& request, uint32_t pid) {
  containerd::events::TaskCreate event;
  event.set_container_id(request.id());
  event.set_bundle(request.bundle());
  *event.mutable_rootfs() = request.rootfs();
  event.mutable_io()->set_stdin(request.stdin());
  event.mutable_io()->set_stdout(request.stdout());
  event.mutable_io()->set_stderr(request.stderr());
  event.mutable_io()->set_terminal(request.terminal());
  event.set_checkpoint(request.checkpoint());
  event.set_pid(pid);
  events_.publish(events::kTopicCreate, event);
}

void TaskService::publish_start(const api::StartRequest& request, uint32_t pid) {
  if (request.exec_id().empty()) {
    containerd::events::TaskStart event;
    event.set_container_id(request.id());
    event.set_pid(pid);
    events_.publish(events::kTopicStart, event);
    return;
  }
  containerd::events::TaskExecStarted event;
  event.set_container_id(request.id());
  event.set_exec_id(request.exec_id());
  event.set_pid(pid);
  events_.publish(events::kTopicExecStarted, event);
}

void TaskService::publish_exit(const std::string& container_id, const Exit& exit) {
  containerd::events::TaskExit event;
  event.set_container_id(container_id);
  event.set_id(exit.exec_id.empty() ? container_id : exit.exec_id);
  event.set_pid(exit.pid);
  event.set_exit_status(exit.exit.status);
  events::set_timestamp(*event.mutable_exited_at(), exit.exit.at);
  events_.publish(events::kTopicExit, event);
}

}  // namespace kata::service
