// The known name that somebody may have meant.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace kata::config {

/// Levenshtein distance in bytes.
size_t edit_distance(std::string_view a, std::string_view b);

/// The nearest of `known`, the first of equals; empty when there is none to choose from.
std::string_view nearest(std::string_view name, std::span<const std::string_view> known);

}  // namespace kata::config
