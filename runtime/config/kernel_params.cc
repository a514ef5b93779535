#include "runtime/config/kernel_params.h"

#include <algorithm>
#include <set>
#include <vector>

#include <fmt/ranges.h>

namespace kata::config {
namespace {

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> params;
  size_t begin = 0;
  bool is_quoted = false;
  for (size_t end = 0; end <= line.size(); ++end) {
    if (end < line.size() && line[end] == '"') is_quoted = !is_quoted;
    if (end < line.size() && (is_quoted || line[end] != ' ')) continue;
    if (end > begin) params.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return params;
}

std::string_view name_of(std::string_view param) { return param.substr(0, param.find('=')); }

}  // namespace

Result<std::string> merge_kernel_params(std::string_view base, std::string_view added) {
  if (std::ranges::count(added, '"') % 2 != 0)
    return fail(Code::kInvalidArgument, "must not leave a quote open");
  const std::vector<std::string_view> params = split(added);
  std::set<std::string_view> names;
  for (std::string_view param : params) names.insert(name_of(param));
  std::vector<std::string_view> merged = split(base);
  std::erase_if(merged, [&](std::string_view param) { return names.contains(name_of(param)); });
  merged.insert(merged.end(), params.begin(), params.end());
  return fmt::format("{}", fmt::join(merged, " "));
}

}  // namespace kata::config
