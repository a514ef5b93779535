// One limit of the spec, written into a file of a cgroup2 directory (internal to the Cgroup class).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/error/error.h"

namespace kata::isolation {

inline constexpr int64_t kUnlimited = -1;

/// As runc: -1 alone means no limit; of other negative numbers the kernel says EINVAL.
std::string amount(int64_t value);

/// Where a limit stands in the spec: "linux.resources.<key>".
std::string spec_path(std::string_view key);

struct Limit {
  const char* controller;
  const char* file;
  const char* key;  // of linux.resources, for messages
};

/// Whether a write has failed because there is no such file: of a device that is not there the
/// kernel says almost the same.
bool lacks_file(int group, const char* file, const Status& written);

/// FailedPrecondition where the guest's kernel has no such controller.
Status write_limit(int group, const Limit& limit, const std::string& value);

/// What the group has now; empty where it has none, or the kernel no such file.
std::string first_line(int group, const char* file);

/// Whether the group's parent has the controller for it.
bool has_controller(int group, std::string_view name);

}  // namespace kata::isolation
