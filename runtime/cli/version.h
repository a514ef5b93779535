// kata-runtime version.
#pragma once

namespace kata::cli {

/// Prints name and version as Kata's kata-runtime does; the exit status.
int run_version();

}  // namespace kata::cli
