// When the stages of a pod's life were reached: lines `msg=stage stage=<name> ms=<since start>` of
// the pod's log, which tools/bench reads.
#pragma once

#include <string_view>

namespace kata::sandbox {

/// Sets the origin; call it first thing in main().
void start_timeline();

void mark_stage(std::string_view stage);

}  // namespace kata::sandbox
