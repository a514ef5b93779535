// kata-runtime factory: templates from which pods start.
#pragma once

#include <filesystem>

namespace kata::cli {

// Each reads `config_file`, or the file that the shim would read when it is empty, prints what it
// did or why not, and answers the exit status.

/// Makes the template now, so that no pod has to.
int run_factory_init(const std::filesystem::path& config_file);
/// Which there are.
int run_factory_status(const std::filesystem::path& config_file);
/// Removes all of them.
int run_factory_destroy(const std::filesystem::path& config_file);

}  // namespace kata::cli
