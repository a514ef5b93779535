// What the host's administrator allows pods to say in their annotations: names by regular
// expressions, paths by shell patterns.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "common/error/error.h"

namespace kata::config {

/// Whether all are regular expressions (RE2's syntax, which is Go's), few and short.
/// InvalidArgument says which is not.
Status check_expressions(std::span<const std::string> expressions);

/// Whether one of them matches the whole of `name`, in time linear in its length.
bool matches_any(std::span<const std::string> expressions, std::string_view name);

/// Whether all are absolute, few and short. InvalidArgument says which is not.
Status check_path_patterns(std::span<const std::string> patterns);

/// Whether one of them matches the whole of `path`, as glob(3) does: '*', '?' and brackets match
/// neither '/' nor a leading '.'. Never, when `path` has components such as "..", or an empty one.
bool is_path_allowed(std::span<const std::string> patterns, const std::string& path);

}  // namespace kata::config
