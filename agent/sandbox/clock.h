// The guest's wall clock, while the pod runs. Any thread.
#pragma once

#include <chrono>

#include "common/error/error.h"

namespace kata::sandbox {

/// Since the epoch.
std::chrono::nanoseconds wall_clock();

/// Half a second and more at once (the host has slept, or its clock was set); less by going faster
/// or slower for a while, in place of what is left of the last call: adjtime(3), 0.5 ms a second.
/// OutOfRange: a hundred years and more.
Status adjust_clock(std::chrono::nanoseconds gain);

}  // namespace kata::sandbox
