// Errors of system calls in the words that runc's users know: "mkdir /x: not a directory".
#pragma once

#include <string_view>

#include "common/error/error.h"

namespace kata::isolation {

/// "<call and argument>: <strerror in lower case>", with the code of the errno.
std::unexpected<Error> fail_call(std::string_view call, int error_number = errno);

/// strerror, its first letter small.
std::string lower_strerror(int error_number);

}  // namespace kata::isolation
