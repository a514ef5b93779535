// Parameters of the guest's kernel as one line of text.
#pragma once

#include <string>
#include <string_view>

#include "common/error/error.h"

namespace kata::config {

/// `base` without the parameters of a name that is in `added`, followed by `added`. As for the
/// kernel, blanks separate parameters but not between double quotes. InvalidArgument: a quote of
/// `added` is left open.
Result<std::string> merge_kernel_params(std::string_view base, std::string_view added);

}  // namespace kata::config
