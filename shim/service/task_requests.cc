// The methods of the task service that concern a container that is there: execs, terminals, what it
// uses and whether it may run.
#include <nlohmann/json.hpp>

#include "common/base/id.h"
#include "common/oci/parse.h"
#include "containerd/task_events.pb.h"
#include "shim/service/task_service.h"

namespace kata::service {
namespace {

constexpr const char* kProcessDetailsType = "containerd.runc.v1.ProcessDetails";
/// Of a terminal, in either direction: what struct winsize can hold.
constexpr uint32_t kMaxTerminalSize = 65535;

/// The spec of an exec. Whether it has a terminal is the request's to say.
Result<std::string> process_spec(const api::ExecProcessRequest& request) {
  KATA_CHECK(oci::check_bounds(request.spec().value(), "the exec's spec"));
  auto spec = nlohmann::json::parse(request.spec().value(), nullptr, /*allow_exceptions=*/false);
  if (!spec.is_object())
    return fail(Code::kInvalidArgument, "the exec's spec ({}) is no JSON object",
                request.spec().type_url());
  spec["terminal"] = request.terminal();
  return spec.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Async<std::string> TaskService::exec(api::ExecProcessRequest request) {
  KATA_CO_CHECK(find(request.id()));
  KATA_CO_CHECK(validate_id("exec id", request.exec_id()));
  KATA_CO_TRY(std::string spec, process_spec(request));
  io::StdioConfig stdio{.in = request.stdin(),
                        .out = request.stdout(),
                        .err = request.stderr(),
                        .terminal = request.terminal(),
                        .id = request.id() + "/" + request.exec_id()};
  Result<std::unique_ptr<sandbox::ProcessIo>> process_io = co_await open_io_(stdio);
  if (!process_io)
    co_return std::unexpected(process_io.error().with_stage("open the exec's stdio"));
  sandbox::ExecProcess wanted{.container_id = request.id(),
                              .exec_id = request.exec_id(),
                              .spec_json = std::move(spec),
                              .io = std::move(*process_io)};
  KATA_CO_CHECK(co_await sandbox_.exec(std::move(wanted)));
  // The container may have gone while this call waited.
  KATA_CO_TRY(Container * container, find(request.id()));
  container->execs.insert_or_assign(request.exec_id(), stdio);
  containerd::events::TaskExecAdded event;
  event.set_container_id(request.id());
  event.set_exec_id(request.exec_id());
  events_.publish(events::kTopicExecAdded, event);
  co_return kEmptyMessage;
}

Async<std::string> TaskService::close_io(api::CloseIORequest request) {
  KATA_CO_CHECK(find(request.id()));
  if (request.stdin()) KATA_CO_CHECK(sandbox_.close_stdin(request.id(), request.exec_id()));
  co_return kEmptyMessage;
}

Async<std::string> TaskService::resize_pty(api::ResizePtyRequest request) {
  KATA_CO_TRY(Container * container, find(request.id()));
  if (request.width() > kMaxTerminalSize || request.height() > kMaxTerminalSize)
    co_return fail(Code::kInvalidArgument, "a terminal of {} x {} characters: at most {} each",
                   request.width(), request.height(), kMaxTerminalSize);
  KATA_CO_CHECK(sandbox_.state(request.id(), request.exec_id()));
  // Without a terminal it does nothing, as with runc.
  if (!container->stdio_of(request.exec_id()).terminal) co_return kEmptyMessage;
  KATA_CO_CHECK(
      co_await sandbox_.resize(request.id(), request.exec_id(), request.width(), request.height()));
  co_return kEmptyMessage;
}

Async<api::PidsResponse> TaskService::pids(api::PidsRequest request) {
  KATA_CO_CHECK(find(request.id()));
  KATA_CO_TRY(const std::vector<sandbox::ContainerProcess> processes,
              co_await sandbox_.pids(request.id()));
  api::PidsResponse response;
  for (const sandbox::ContainerProcess& process : processes) {
    containerd::v1::types::ProcessInfo& info = *response.add_processes();
    info.set_pid(process.pid);
    if (process.exec_id.empty()) continue;
    containerd::v1::types::ProcessDetails details;
    details.set_exec_id(process.exec_id);
    info.mutable_info()->set_type_url(kProcessDetailsType);
    info.mutable_info()->set_value(details.SerializeAsString());
  }
  co_return response;
}

Async<std::string> TaskService::pause(api::PauseRequest request) {
  KATA_CO_CHECK(find(request.id()));
  KATA_CO_CHECK(co_await sandbox_.pause(request.id()));
  containerd::events::TaskPaused event;
  event.set_container_id(request.id());
  events_.publish(events::kTopicPaused, event);
  co_return kEmptyMessage;
}

Async<std::string> TaskService::resume(api::ResumeRequest request) {
  KATA_CO_CHECK(find(request.id()));
  KATA_CO_CHECK(co_await sandbox_.resume(request.id()));
  containerd::events::TaskResumed event;
  event.set_container_id(request.id());
  events_.publish(events::kTopicResumed, event);
  co_return kEmptyMessage;
}

Async<std::string> TaskService::update(api::UpdateTaskRequest request) {
  KATA_CO_CHECK(find(request.id()));
  KATA_CO_CHECK(co_await sandbox_.update(request.id(), request.resources().value()));
  co_return kEmptyMessage;
}

Async<api::StatsResponse> TaskService::stats(api::StatsRequest request) {
  KATA_CO_CHECK(find(request.id()));
  KATA_CO_TRY(std::string metrics, co_await sandbox_.metrics(request.id()));
  api::StatsResponse response;
  response.mutable_stats()->set_type_url(kMetricsType);
  response.mutable_stats()->set_value(std::move(metrics));
  co_return response;
}

Async<std::string> TaskService::checkpoint(api::CheckpointTaskRequest request) {
  KATA_CO_CHECK(find(request.id()));
  co_return fail(Code::kUnimplemented,
                 "checkpoint: the state of a container in a VM cannot be saved to an image");
}

void TaskService::on_oom(const std::string& container_id) {
  if (!containers_->contains(container_id)) return;
  containerd::events::TaskOOM event;
  event.set_container_id(container_id);
  events_.publish(events::kTopicOom, event);
}

}  // namespace kata::service
