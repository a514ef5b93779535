// The method table of the task service: names, and bytes to messages and back.
#include "shim/service/task_service.h"

namespace kata::service {
namespace {

std::string encode(const google::protobuf::MessageLite& message) {
  return message.SerializeAsString();
}
std::string encode(std::string bytes) { return bytes; }

template <typename Request, typename Response>
ttrpc::Handler handler_of(TaskService* service, Async<Response> (TaskService::*method)(Request)) {
  return [service, method](std::string payload) -> Async<std::string> {
    Request request;
    if (!request.ParseFromString(payload))
      co_return fail(Code::kInvalidArgument, "the request cannot be decoded");
    KATA_CO_TRY(Response response, co_await (service->*method)(std::move(request)));
    co_return encode(std::move(response));
  };
}

template <typename Request, typename Response>
auto handler_of(TaskService* service,
                Async<Response> (TaskService::*method)(Request, ttrpc::Caller)) {
  return [service, method](std::string payload, ttrpc::Caller caller) -> Async<std::string> {
    Request request;
    if (!request.ParseFromString(payload))
      co_return fail(Code::kInvalidArgument, "the request cannot be decoded");
    KATA_CO_TRY(Response response,
                co_await (service->*method)(std::move(request), std::move(caller)));
    co_return encode(std::move(response));
  };
}

}  // namespace

void TaskService::add_to(ttrpc::Server& server, const std::string& service_name) {
  auto add = [&](const char* name, auto method,
                 ttrpc::Duration duration = ttrpc::Duration::kBounded) {
    server.add_method(service_name, name, handler_of(this, method), duration);
  };
  add("State", &TaskService::state);
  add("Create", &TaskService::create);
  add("Start", &TaskService::start);
  add("Delete", &TaskService::remove);
  add("Pids", &TaskService::pids);
  add("Kill", &TaskService::kill);
  add("CloseIO", &TaskService::close_io);
  add("Wait", &TaskService::wait, ttrpc::Duration::kOpenEnded);
  add("Connect", &TaskService::connect);
  add("Shutdown", &TaskService::shutdown);
  add("Exec", &TaskService::exec);
  add("ResizePty", &TaskService::resize_pty);
  add("Pause", &TaskService::pause);
  add("Resume", &TaskService::resume);
  add("Update", &TaskService::update);
  add("Stats", &TaskService::stats);
  add("Checkpoint", &TaskService::checkpoint);
}

}  // namespace kata::service
