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

/// The task service's two names: of containerd up to 1.7, and of later ones, which call a shim that
/// announces version 2 by the old one.
inline constexpr const char* kTaskServiceV2 = "containerd.task.v2.Task";
inline constexpr const char* kTaskServiceV3 = "containerd.task.v3.Task";

/// What containerd's clients know metrics of cgroup v2 by.
inline constexpr const char* kMetricsType = "io.containerd.cgroups.v2.Metrics";

/// containerd.task.v2.ShutdownRequest that does not ask whether containers are left.
std::string encode_shutdown_now(std::string_view id);

/// containerd.runtime.sandbox.v1.ShutdownSandboxRequest.
std::string encode_shutdown_sandbox(std::string_view id);

/// Whether an Any's type_url is that of the options which this runtime takes.
bool are_our_options(std::string_view type_url);

/// What containerd's configuration says to this runtime.
struct RuntimeOptions {
  /// Of the configuration file to read, absolute; empty: none is named.
  std::string config_path;
  /// The configuration itself, TOML, when no file is named.
  std::string config_body;
};

/// runtimeoptions.v1.Options inside a google.protobuf.Any, which `start` reads from stdin and
/// Create repeats. Empty when there are none, or runc's, which Docker sends to every runtime.
/// InvalidArgument: they cannot be decoded or are of another type, or the path is not absolute.
Result<RuntimeOptions> decode_runtime_options(std::string_view any);

}  // namespace kata::service
