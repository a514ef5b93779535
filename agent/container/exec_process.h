// What an exec takes over from the init of its container.
#pragma once

#include <string>
#include <string_view>

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::container {

/// The JSON of an exec's process, which has passed oci::parse_process, with capabilities, rlimits,
/// oomScoreAdj, labels of security modules, scheduler, ioPriority and execCPUAffinity of the init
/// where it has none of its own, as with runc.
Result<std::string> complete_exec_process(std::string_view process_json, const oci::Process& init);

}  // namespace kata::container
