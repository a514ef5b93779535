// Which content a file had, cheaply.
#pragma once

#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/error/error.h"

namespace kata::factory {

/// A JSON array with, for each file, its path, identity (device, inode, size, times) and the
/// SHA-256 of its content. Reads the files whole. NotFound names the missing one.
Result<nlohmann::json> take_fingerprint(const std::vector<std::filesystem::path>& files);

/// Whether the files still have the content of `fingerprint`. Reads only those whose identity is
/// another: a file that was touched, or replaced by the same content, counts as unchanged.
bool still_matches(const nlohmann::json& fingerprint,
                   const std::vector<std::filesystem::path>& files);

}  // namespace kata::factory
