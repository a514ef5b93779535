#include "shim/service/shim_messages.h"

#include <google/protobuf/any.pb.h>

#include "containerd/runtime_options.pb.h"
#include "containerd/sandbox.pb.h"
#include "containerd/task.pb.h"
#include "shim/events/timestamp.h"

namespace kata::service {

std::string encode_delete_response(uint32_t pid, uint32_t exit_status,
                                   std::chrono::system_clock::time_point exited_at) {
  containerd::task::v2::DeleteResponse response;
  response.set_pid(pid);
  response.set_exit_status(exit_status);
  events::set_timestamp(*response.mutable_exited_at(), exited_at);
  return response.SerializeAsString();
}

std::string encode_shutdown_now(std::string_view id) {
  containerd::task::v2::ShutdownRequest request;
  request.set_id(std::string(id));
  request.set_now(true);
  return request.SerializeAsString();
}

std::string encode_shutdown_sandbox(std::string_view id) {
  containerd::runtime::sandbox::v1::ShutdownSandboxRequest request;
  request.set_sandbox_id(std::string(id));
  return request.SerializeAsString();
}

bool are_our_options(std::string_view type_url) {
  type_url.remove_prefix(type_url.rfind('/') + 1);
  return type_url == "runtimeoptions.v1.Options";
}

Result<std::string> config_path_in_options(std::string_view any) {
  google::protobuf::Any wrapped;
  if (!wrapped.ParseFromArray(any.data(), static_cast<int>(any.size())))
    return fail(Code::kInvalidArgument, "the runtime options on stdin cannot be decoded");
  if (!are_our_options(wrapped.type_url())) return "";
  runtimeoptions::v1::Options options;
  if (!options.ParseFromString(wrapped.value()))
    return fail(Code::kInvalidArgument, "the runtime options ({}) cannot be decoded",
                wrapped.type_url());
  if (options.config_path().empty() && !options.config_body().empty())
    return fail(Code::kInvalidArgument,
                "runtime options inside containerd's configuration are not supported: write them "
                "to a configuration.toml and name it in ConfigPath");
  return options.config_path();
}

}  // namespace kata::service
