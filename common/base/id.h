// Identifiers that reach file names, cgroup names and log lines.
#pragma once

#include <string_view>

#include "common/error/error.h"

namespace kata {

/// containerd's rule for ids and namespaces (pkg/identifiers): 1 to 76 characters, groups of
/// [A-Za-z0-9] joined by single '_', '.' or '-'. `kind` names the value in the error.
Status validate_id(std::string_view kind, std::string_view id);

}  // namespace kata
