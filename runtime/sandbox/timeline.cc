#include "runtime/sandbox/timeline.h"

#include <chrono>
#include <string>

#include <fmt/format.h>

#include "common/log/log.h"

namespace kata::sandbox {
namespace {

using Clock = std::chrono::steady_clock;

Clock::time_point origin = Clock::now();

}  // namespace

void start_timeline() { origin = Clock::now(); }

void mark_stage(std::string_view stage) {
  std::chrono::duration<double, std::milli> elapsed = Clock::now() - origin;
  log::info("stage",
            {{"stage", std::string(stage)}, {"ms", fmt::format("{:.1f}", elapsed.count())}});
}

}  // namespace kata::sandbox
