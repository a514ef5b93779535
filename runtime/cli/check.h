// kata-runtime check: whether a pod could start on this host, and what to do if not.
#pragma once

#include <filesystem>
#include <vector>

#include "runtime/cli/report.h"
#include "runtime/config/config.h"

namespace kata::cli {

/// Every finding about the host under these settings. Blocking; runs QEMU for its version.
std::vector<Finding> examine_host(const config::Config& config);

/// Prints the report for `config_file`, or for the file that the shim would read when it is empty.
/// The exit status: 0 only if a pod could start.
int run_check(const std::filesystem::path& config_file);

}  // namespace kata::cli
