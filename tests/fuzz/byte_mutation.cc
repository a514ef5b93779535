#include <algorithm>
#include <cstring>

#include "tests/fuzz/mutation.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace kata::fuzz {

std::string mutate_bytes(std::string_view bytes, Random& random) {
  constexpr size_t kRoomToGrow = 64;
  std::string out(bytes);
  out.resize(bytes.size() + 1 + random.below(kRoomToGrow));
  out.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(out.data()), bytes.size(), out.size()));
  return out;
}

std::string mutate_records(std::string_view bytes, size_t record_bytes, Random& random) {
  std::string out(bytes.substr(0, bytes.size() - bytes.size() % record_bytes));
  const size_t count = out.size() / record_bytes;
  const size_t at = random.below(count) * record_bytes;
  const size_t to = random.below(count + 1) * record_bytes;
  const std::string record = out.substr(at, record_bytes);
  // libFuzzer's own mutations, within the record.
  std::string changed = record.empty() ? std::string(record_bytes, '\0') : record;
  const size_t left =
      LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(changed.data()), record_bytes, record_bytes);
  std::fill(changed.begin() + static_cast<ptrdiff_t>(left), changed.end(), '\0');
  switch (count == 0 ? 0 : random.below(5)) {
    case 0:
      return out.insert(to, changed);
    case 1:
      return out.insert(to, record);
    case 2:
      return out.erase(at, record_bytes);
    default:
      return out.replace(at, record_bytes, changed);
  }
}

size_t put_result(std::string_view result, uint8_t* data, size_t max_size) {
  const size_t size = std::min(result.size(), max_size);
  std::memcpy(data, result.data(), size);
  return size;
}

}  // namespace kata::fuzz
