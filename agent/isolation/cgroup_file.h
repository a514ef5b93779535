// Reading, writing and waiting on the files of one cgroup2 directory (internal to the Cgroup
// class).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/error/error.h"

namespace kata::isolation {

Result<std::string> read_cgroup_file(int group, const char* name);
Status write_cgroup_file(int group, const char* name, std::string_view value);

/// The number after `key` in a file of "key number" lines. NotFound: no such file or key.
Result<uint64_t> read_cgroup_key(int group, const char* name, std::string_view key);

/// Until `key` in cgroup.events is `value`, woken by the kernel. DeadlineExceeded.
Status wait_cgroup_event(int group, std::string_view key, uint64_t value,
                         std::chrono::steady_clock::time_point deadline);

}  // namespace kata::isolation
