#include "agent/isolation/call_error.h"

#include <array>
#include <cctype>
#include <cstring>

namespace kata::isolation {

std::string lower_strerror(int error_number) {
  std::array<char, 128> buffer;
  std::string text = strerror_r(error_number, buffer.data(), buffer.size());  // GNU's
  text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

std::unexpected<Error> fail_call(std::string_view call, int error_number) {
  return fail(code_from_errno(error_number), "{}: {}", call, lower_strerror(error_number));
}

}  // namespace kata::isolation
