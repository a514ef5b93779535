#include "runtime/config/annotation_rules.h"

#include <algorithm>
#include <filesystem>

#include <fnmatch.h>
#include <re2/re2.h>

#include "common/oci/json_reader.h"

namespace kata::config {
namespace {

constexpr size_t kMaxRules = 128;
constexpr size_t kMaxRuleBytes = 256;
/// Of one compiled expression; a few hundred kilobytes hold what anybody needs for a name.
constexpr int64_t kMaxExpressionBytes = int64_t{1} << 20;
/// fnmatch() tries every split for each star.
constexpr ptrdiff_t kMaxStars = 8;
constexpr size_t kMaxPathBytes = 4096;

Status check_bounds(std::span<const std::string> rules) {
  if (rules.size() > kMaxRules)
    return fail(Code::kInvalidArgument, "has {} elements, must have at most {}", rules.size(),
                kMaxRules);
  for (const std::string& rule : rules)
    if (rule.empty() || rule.size() > kMaxRuleBytes)
      return fail(Code::kInvalidArgument, "holds {}, which must have from 1 to {} characters",
                  oci::quote(rule), kMaxRuleBytes);
  return {};
}

RE2::Options options() {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxExpressionBytes);
  return options;
}

bool is_plain(const std::string& path) {
  return path.starts_with('/') && path.size() < kMaxPathBytes &&
         path.find('\0') == std::string::npos &&
         std::filesystem::path(path).lexically_normal().native() == path;
}

}  // namespace

Status check_expressions(std::span<const std::string> expressions) {
  KATA_CHECK(check_bounds(expressions));
  for (const std::string& expression : expressions)
    if (const RE2 compiled(expression, options()); !compiled.ok())
      return fail(Code::kInvalidArgument, "holds {}, which is no regular expression: {}",
                  oci::quote(expression), compiled.error());
  return {};
}

bool matches_any(std::span<const std::string> expressions, std::string_view name) {
  return std::ranges::any_of(expressions, [&](const std::string& expression) {
    return RE2::FullMatch(re2::StringPiece(name.data(), name.size()), RE2(expression, options()));
  });
}

Status check_path_patterns(std::span<const std::string> patterns) {
  KATA_CHECK(check_bounds(patterns));
  for (const std::string& pattern : patterns) {
    if (pattern.front() != '/')
      return fail(Code::kInvalidArgument, "holds {}, which must be absolute", oci::quote(pattern));
    if (std::ranges::count(pattern, '*') > kMaxStars)
      return fail(Code::kInvalidArgument, "holds {}, which must have at most {} stars",
                  oci::quote(pattern), kMaxStars);
  }
  return {};
}

bool is_path_allowed(std::span<const std::string> patterns, const std::string& path) {
  return is_plain(path) && std::ranges::any_of(patterns, [&](const std::string& pattern) {
           return fnmatch(pattern.c_str(), path.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0;
         });
}

}  // namespace kata::config
