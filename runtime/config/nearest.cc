#include "runtime/config/nearest.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace kata::config {

size_t edit_distance(std::string_view a, std::string_view b) {
  // One row of the matrix: row[j] is the distance of a's first i bytes to b's first j.
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

std::string_view nearest(std::string_view name, std::span<const std::string_view> known) {
  const auto best = std::ranges::min_element(
      known, {}, [&](std::string_view candidate) { return edit_distance(name, candidate); });
  return best == known.end() ? std::string_view() : *best;
}

}  // namespace kata::config
