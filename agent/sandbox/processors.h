// The guest's processors, which come while it runs (the guest has no udev that would take them).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>

#include "common/error/error.h"

namespace kata::sandbox {

/// Where the kernel shows them.
inline constexpr const char* kProcessors = "/sys/devices/system/cpu";

/// Waits until there are `count` processors, and has the kernel use the first of them and no more.
/// Any thread. InvalidArgument: the machine has no place for so many. NotFound: they have not come
/// within `limit`.
Status use_processors(uint32_t count, std::chrono::seconds limit,
                      const std::filesystem::path& processors = kProcessors);

}  // namespace kata::sandbox
