// SHA-256 (FIPS 180-4), for names that other programs compute too. Not for secrets.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace kata {

/// Of data that comes in pieces.
class Sha256 {
 public:
  void update(std::string_view data);
  /// The digest as 64 lower-case hexadecimal digits. Called once, last.
  std::string finish();

 private:
  static constexpr size_t kBlockBytes = 64;

  // 5.3.3: the fractional parts of the square roots of the first 8 primes.
  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint64_t length_bytes_ = 0;
  std::string tail_;  // less than a block
};

/// The digest of `data`, as Sha256 has it.
std::string sha256_hex(std::string_view data);

}  // namespace kata
