// What a fuzz target promises of the code under test, beside what the sanitizers see.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "common/error/error.h"

namespace kata::fuzz {

/// Ends the run when it does not hold; libFuzzer keeps the input then.
inline void expect(bool holds, std::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

/// Goes to clients and logs: a line of text, whatever the input was, and not all of that.
inline void expect_readable(const Error& error) {
  constexpr size_t kMaxMessageBytes = 16 * 1024;
  expect(!error.message().empty(), "an error without a word");
  expect(error.message().size() < kMaxMessageBytes, "an error that repeats its input");
}

}  // namespace kata::fuzz
