// SHA-256 (FIPS 180-4), for names that other programs compute too. Not for secrets.
#pragma once

#include <string>
#include <string_view>

namespace kata {

/// The digest as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view data);

}  // namespace kata
