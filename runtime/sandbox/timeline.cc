#include "runtime/sandbox/timeline.h"

#include <string>

#include <fmt/format.h>

#include "common/log/log.h"

namespace kata::sandbox {
namespace {

using Clock = std::chrono::steady_clock;

Clock::time_point origin = Clock::now();

}  // namespace

void start_timeline() { origin = Clock::now(); }

void mark_stage(std::string_view stage) { mark_past_stage(stage, std::chrono::microseconds(0)); }

void mark_past_stage(std::string_view stage, std::chrono::microseconds earlier) {
  std::chrono::duration<double, std::milli> elapsed = Clock::now() - origin - earlier;
  log::info("stage",
            {{"stage", std::string(stage)}, {"ms", fmt::format("{:.1f}", elapsed.count())}});
}

}  // namespace kata::sandbox
