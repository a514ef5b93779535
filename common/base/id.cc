#include "common/base/id.h"

namespace kata {
namespace {

constexpr size_t kMaxIdLength = 76;

bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

Status validate_id(std::string_view kind, std::string_view id) {
  if (id.empty()) return fail(Code::kInvalidArgument, "{} must not be empty", kind);
  if (id.size() > kMaxIdLength)
    return fail(Code::kInvalidArgument, "{} is {} characters long, {} are allowed", kind, id.size(),
                kMaxIdLength);
  bool separator_before = true;  // so that a leading separator is refused
  for (char c : id) {
    if (is_alnum(c)) {
      separator_before = false;
      continue;
    }
    if (separator_before || (c != '_' && c != '.' && c != '-'))
      return fail(Code::kInvalidArgument,
                  "{} \"{}\" must be letters and digits, joined by single '_', '.' or '-'", kind,
                  id);
    separator_before = true;
  }
  if (separator_before)
    return fail(Code::kInvalidArgument, "{} \"{}\" must end with a letter or a digit", kind, id);
  return {};
}

}  // namespace kata
