// Drop-ins: files beside a configuration.toml that change single keys of it.
#pragma once

#include <filesystem>
#include <vector>

#include "common/error/error.h"

namespace kata::config {

/// config.d/*.toml beside `file`, or beside what it leads to as a symbolic link, sorted bytewise by
/// name. Hidden files are left out; other names that do not end in .toml too, with a warning in the
/// log. No directory: none. ResourceExhausted: too many.
Result<std::vector<std::filesystem::path>> find_drop_ins(const std::filesystem::path& file);

}  // namespace kata::config
