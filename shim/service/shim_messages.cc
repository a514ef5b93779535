#include "shim/service/shim_messages.h"

#include <algorithm>
#include <array>

#include <google/protobuf/any.pb.h>

#include "common/oci/json_reader.h"
#include "containerd/runtime_options.pb.h"
#include "containerd/sandbox.pb.h"
#include "containerd/task.pb.h"
#include "shim/events/timestamp.h"

namespace kata::service {
namespace {

/// The first is containerd's since 1.5, the last was before.
constexpr std::array<std::string_view, 3> kOptionTypes = {"runtimeoptions.v1.Options",
                                                          "containerd.runtimeoptions.v1.Options",
                                                          "cri.runtimeoptions.v1.Options"};
constexpr std::string_view kRuncOptions = "containerd.runc.v1.Options";

std::string_view type_in(std::string_view type_url) {
  return type_url.substr(type_url.rfind('/') + 1);
}

}  // namespace

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
  const std::string_view type = type_in(type_url);
  return std::ranges::find(kOptionTypes, type) != kOptionTypes.end();
}

Result<RuntimeOptions> decode_runtime_options(std::string_view any) {
  google::protobuf::Any wrapped;
  if (!wrapped.ParseFromArray(any.data(), static_cast<int>(any.size())))
    return fail(Code::kInvalidArgument, "the runtime options on stdin cannot be decoded");
  const std::string_view type = type_in(wrapped.type_url());
  if (type.empty() || type == kRuncOptions) return RuntimeOptions();
  if (!are_our_options(type))
    return fail(
        Code::kInvalidArgument,
        "runtime options of the type {} are not supported: remove them, or give those of the "
        "type {} with ConfigPath, the path of a configuration.toml",
        oci::quote(type), kOptionTypes.front());
  runtimeoptions::v1::Options options;
  if (!options.ParseFromString(wrapped.value()))
    return fail(Code::kInvalidArgument, "the runtime options ({}) cannot be decoded", type);
  const std::string& path = options.config_path();
  if (path.empty()) return RuntimeOptions{.config_path = {}, .config_body = options.config_body()};
  if (path.front() != '/' || path.find('\0') != std::string::npos)
    return fail(Code::kInvalidArgument,
                "the runtime option ConfigPath is {}, must be an absolute path", oci::quote(path));
  return RuntimeOptions{.config_path = path, .config_body = {}};
}

}  // namespace kata::service
