// Mutations that keep an input's form, so that what comes behind a parser is reached, too.
//
// For LLVMFuzzerCustomMutator and LLVMFuzzerCustomCrossOver. The same seed gives the same result as
// long as libFuzzer's own mutations, which leaves are handed to, do.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>

namespace kata::fuzz {

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  /// From 0 to limit - 1; 0 for a limit of 0.
  size_t below(size_t limit) { return limit == 0 ? 0 : engine_() % limit; }
  bool one_in(size_t n) { return below(n) == 0; }
  unsigned seed() { return static_cast<unsigned>(engine_()); }

 private:
  std::mt19937 engine_;
};

/// libFuzzer's own mutations.
std::string mutate_bytes(std::string_view bytes, Random& random);

/// Records of `record_bytes` each: one is changed, added, removed, repeated or moved.
std::string mutate_records(std::string_view bytes, size_t record_bytes, Random& random);

/// One to three changes of values, members or elements. What is no JSON is mutated as bytes.
std::string mutate_json(std::string_view text, Random& random);
/// `text` with a value or member of `other`, at the same place if there is one.
std::string cross_json(std::string_view text, std::string_view other, Random& random);

/// A protobuf message of any type: fields are changed, removed, repeated, moved and renumbered;
/// messages and JSON in it are mutated as such.
std::string mutate_message(std::string_view bytes, Random& random);
/// `bytes` with some of the top-level fields of `other`.
std::string cross_message(std::string_view bytes, std::string_view other, Random& random);

/// Hands `result` to libFuzzer: the new size of `data`.
size_t put_result(std::string_view result, uint8_t* data, size_t max_size);

inline std::string_view as_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace kata::fuzz
