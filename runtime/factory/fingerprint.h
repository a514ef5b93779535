// Which content files had, cheaply.
#pragma once

#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/error/error.h"

namespace kata::factory {

/// A JSON array with, for each file, its path, identity (device, inode, size, times) and the
/// SHA-256 of its content. Reads the files whole, but for those whose identity is that in `known`,
/// an earlier fingerprint of them (anything else there is ignored). NotFound names a missing file.
Result<nlohmann::json> take_fingerprint(const std::vector<std::filesystem::path>& files,
                                        const nlohmann::json& known = {});

/// Whether two fingerprints are of the same content; a file that was touched, or replaced by an
/// equal one, makes no difference.
bool same_content(const nlohmann::json& one, const nlohmann::json& other);

}  // namespace kata::factory
