// Which file a command name means, and its environment, in the container that the caller is in.
#pragma once

#include <string>
#include <vector>

#include "common/error/error.h"

namespace kata::isolation {

/// A name with a slash is a path; any other is looked up in the PATH of `env`, with the caller's
/// credentials. The rules and the texts are those of runc 1.1.5:
///   exec: "nosuch": executable file not found in $PATH           NotFound
///   exec: "/nosuch": stat /nosuch: no such file or directory     NotFound
///   exec: "/etc": permission denied (it is a directory)          PermissionDenied
///   exec: "/etc/passwd": permission denied                       PermissionDenied
Result<std::string> find_executable(const std::string& name, const std::vector<std::string>& env);

/// The value of the last entry for `key`, or "".
std::string env_value(const std::vector<std::string>& env, std::string_view key);

/// One entry per name: the place of its first, the value of its last; HOME added where it is
/// missing or empty.
std::vector<std::string> complete_env(const std::vector<std::string>& env, const std::string& home);

}  // namespace kata::isolation
