// The protobuf messages that the shim's commands exchange with containerd over stdin and stdout.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/error/error.h"

namespace kata::service {

/// containerd.task.v2.DeleteResponse: what `delete` prints.
std::string encode_delete_response(uint32_t pid, uint32_t exit_status,
                                   std::chrono::system_clock::time_point exited_at);

/// The encoding of google.protobuf.Empty.
inline const std::string kEmptyMessage;

inline constexpr const char* kTaskServiceV2 = "containerd.task.v2.Task";

/// containerd.task.v2.ShutdownRequest that does not ask whether containers are left.
std::string encode_shutdown_now(std::string_view id);

/// containerd.types.RuntimeInfo: what `-info` prints.
std::string encode_runtime_info(std::string_view name, std::string_view version);

/// Path of the configuration file that containerd's options name (runtimeoptions.v1.Options inside
/// the google.protobuf.Any that `start` reads from stdin). Empty when there are no options, or
/// options of another runtime, which containerd sends too ("containerd.runc.v1.Options").
/// InvalidArgument: they cannot be decoded, or carry a configuration instead of its path.
Result<std::string> config_path_in_options(std::string_view any);

}  // namespace kata::service
