// When the stages of a pod's life were reached: lines `msg=stage stage=<name> ms=<since start>` of
// the pod's log, which tools/bench reads.
#pragma once

#include <chrono>
#include <string_view>

namespace kata::sandbox {

/// Sets the origin; call it first thing in main().
void start_timeline();

void mark_stage(std::string_view stage);

/// A stage that was reached `earlier` than now.
void mark_past_stage(std::string_view stage, std::chrono::microseconds earlier);

}  // namespace kata::sandbox
