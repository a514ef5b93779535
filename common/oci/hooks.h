// What a hook is told, and what is told of one that failed.
// https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#posix-platform-hooks
#pragma once

#include <map>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::oci {

/// The newest version of the specification that we know.
inline constexpr const char* kNewestVersion = "1.2.1";

/// What a hook of that kind learns as the status; see the specification's "Lifecycle".
inline constexpr std::string_view kCreating = "creating";
inline constexpr std::string_view kCreated = "created";
inline constexpr std::string_view kRunning = "running";
inline constexpr std::string_view kStopped = "stopped";

/// https://github.com/opencontainers/runtime-spec/blob/v1.2.0/runtime.md#state
struct State {
  std::string id;
  std::string_view status;
  pid_t pid = 0;       // 0: there is none
  std::string bundle;  // on the host
  std::map<std::string, std::string> annotations;
};

/// In the keys' order of the specification.
std::string to_json(const State& state);

/// "createRuntime hook #0 (/bin/false)".
std::string hook_name(std::string_view kind, size_t index, const Hook& hook);

/// "error running createRuntime hook #0 (/bin/false): exited with status 1: <what it has said>".
Error hook_error(std::string_view kind, size_t index, const Hook& hook, Code code,
                 std::string_view outcome, std::string_view output = {});

/// argv: the path alone where the specification has no arguments.
std::vector<std::string> arguments_of(const Hook& hook);

}  // namespace kata::oci
