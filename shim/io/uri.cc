#include "shim/io/uri.h"

#include <cctype>
#include <charconv>
#include <string_view>

namespace kata::io {
namespace {

constexpr std::string_view kSchemeEnd = "://";

/// Takes everything before `separator` off the front of `text`, and the separator too.
std::string_view take_until(std::string_view& text, char separator) {
  size_t end = text.find(separator);
  std::string_view taken = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return taken;
}

Result<std::string> decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  while (!text.empty()) {
    char next = text.front();
    text.remove_prefix(1);
    if (next == '+' && plus_is_space) next = ' ';
    if (next == '%') {
      unsigned value = 0;
      auto digits = text.substr(0, 2);
      auto [end, error] = std::from_chars(digits.begin(), digits.end(), value, 16);
      if (error != std::errc() || digits.size() != 2 || end != digits.end())
        return fail(Code::kInvalidArgument, "\"%{}\" is no percent-encoding", digits);
      next = static_cast<char>(value);
      text.remove_prefix(2);
    }
    // Neither a path nor an argument of a process can hold it.
    if (next == '\0') return fail(Code::kInvalidArgument, "it holds a NUL");
    decoded.push_back(next);
  }
  return decoded;
}

Result<StdioUri> parse(std::string_view text) {
  StdioUri uri;
  size_t scheme_length = text.find(kSchemeEnd);
  uri.scheme = text.substr(0, scheme_length);
  for (char& letter : uri.scheme)
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  text.remove_prefix(scheme_length + kSchemeEnd.size());

  text = take_until(text, '#');
  std::string_view path = take_until(text, '?');
  if (!path.starts_with('/'))
    return fail(Code::kInvalidArgument, "it needs an absolute path behind {}", kSchemeEnd);
  KATA_TRY(uri.path, decode(path, false));
  while (!text.empty()) {
    std::string_view pair = take_until(text, '&');
    if (pair.empty()) continue;
    KATA_TRY(std::string key, decode(take_until(pair, '='), true));
    KATA_TRY(std::string value, decode(pair, true));
    uri.query.emplace_back(std::move(key), std::move(value));
  }
  return uri;
}

}  // namespace

Result<StdioUri> parse_stdio_uri(const std::string& text) {
  if (text.starts_with('/') || text.find(kSchemeEnd) == std::string::npos)
    return StdioUri{.path = text, .query = {}};
  auto uri = parse(text);
  if (!uri) return std::unexpected(uri.error().with_stage(text));
  return uri;
}

}  // namespace kata::io
