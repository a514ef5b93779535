// Processors as the specification lists them: "0-3,7".
#pragma once

#include <string_view>
#include <vector>

#include "common/error/error.h"

namespace kata::oci {

/// What a cpu_set_t holds.
inline constexpr unsigned kMaxCpus = 1024;

/// Spaces around an element and empty elements are fine, as in runc. InvalidArgument: anything else
/// that is no list, a range that runs backwards, a number from kMaxCpus on, no processor at all.
Result<std::vector<unsigned>> parse_cpu_list(std::string_view text);

}  // namespace kata::oci
