// A small stand-in for libFuzzer's driver: runs LLVMFuzzerTestOneInput on mutations of what has
// reached new code before. The same seed and number of runs give the same inputs.
//
//   vsock-device-fuzz [--runs N] [--seconds N] [--seed N] [FILE...]
//
// With files it runs those once, to reproduce. An input that crashes or hangs is written to
// ./crash-<seed>-<run> first.
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <signal.h>
#include <unistd.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Input = std::vector<uint8_t>;

/// Inputs are sequences of records of this size; mutations keep to their boundaries half the time.
constexpr size_t kRecordBytes = 16;
constexpr size_t kMaxRecords = 96;
constexpr size_t kMaxCorpus = 4096;
constexpr unsigned kHangSeconds = 20;

/// How often each edge (hashed) ran in this input, and in which magnitudes ever.
std::array<uint8_t, 1 << 16> edge_counts;
std::array<uint8_t, 1 << 16> edges_seen;
uintptr_t previous_edge = 0;

const Input* current_input = nullptr;
char crash_name[64];

void save_current_input() {
  if (current_input == nullptr) return;
  const int fd = ::open(crash_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  [[maybe_unused]] ssize_t written = ::write(fd, current_input->data(), current_input->size());
  ::close(fd);
  std::fprintf(stderr, "input written to %s\n", crash_name);
  current_input = nullptr;
}

void on_signal(int number) {
  std::fprintf(stderr, number == SIGALRM ? "hang\n" : "abort\n");
  save_current_input();
  ::_exit(1);
}

// Counts fall into eight classes, so that a loop's every turn is not news.
uint8_t magnitude(uint8_t count) {
  uint8_t bit = 0;
  while (count > 1) {
    count >>= 1;
    ++bit;
  }
  return static_cast<uint8_t>(1U << bit);
}

bool run(const Input& input) {
  edge_counts.fill(0);
  previous_edge = 0;
  current_input = &input;
  ::alarm(kHangSeconds);
  LLVMFuzzerTestOneInput(input.data(), input.size());
  ::alarm(0);
  current_input = nullptr;
  bool news = false;
  for (size_t i = 0; i < edge_counts.size(); ++i) {
    if (edge_counts[i] == 0) continue;
    const uint8_t bit = magnitude(edge_counts[i]);
    news |= (edges_seen[i] & bit) == 0;
    edges_seen[i] |= bit;
  }
  return news;
}

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  size_t below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }

  Input mutate(Input input, const std::vector<Input>& corpus) {
    for (size_t steps = 1 + below(6); steps > 0; --steps) step(input, corpus);
    if (input.size() > kMaxRecords * kRecordBytes) input.resize(kMaxRecords * kRecordBytes);
    return input;
  }

 private:
  void step(Input& input, const std::vector<Input>& corpus) {
    const size_t records = input.size() / kRecordBytes;
    switch (below(8)) {
      case 0: {  // a new record
        Input record(kRecordBytes);
        for (uint8_t& byte : record) byte = static_cast<uint8_t>(random_());
        insert(input, below(records + 1), record);
        break;
      }
      case 1:  // a copy of a record
        if (records > 0) insert(input, below(records + 1), take(input, below(records), 1));
        break;
      case 2:  // one less
        if (records > 1) {
          const auto first = input.begin() + static_cast<ptrdiff_t>(below(records) * kRecordBytes);
          input.erase(first, first + kRecordBytes);
        }
        break;
      case 3: {  // a piece of another input
        const Input& other = corpus[below(corpus.size())];
        const size_t from = below(other.size() / kRecordBytes);
        insert(input, below(records + 1), take(other, from, 1 + below(8)));
        break;
      }
      case 4:
      case 5:  // one byte
        if (!input.empty()) input[below(input.size())] = static_cast<uint8_t>(random_());
        break;
      case 6:  // one bit
        if (!input.empty()) input[below(input.size())] ^= static_cast<uint8_t>(1U << below(8));
        break;
      default:
        put_special(input);
        break;
    }
  }

  void put_special(Input& input) {
    static constexpr uint64_t kSpecial[] = {
        0,         1,       2,        3,          16,         44,         127,
        128,       0x7fff,  0x8000,   0xffff,     0x10000,    0x3fffff,   0x400000,
        0x1000000, 1 << 30, 1U << 31, UINT32_MAX, 1ULL << 32, 1ULL << 63, UINT64_MAX - 15,
        UINT64_MAX};
    const size_t width = size_t{1} << below(4);
    if (input.size() < width) return;
    const uint64_t value = kSpecial[below(std::size(kSpecial))];
    const size_t at = below(input.size() / width) * width;
    std::memcpy(input.data() + at, &value, width);
  }

  static Input take(const Input& input, size_t record, size_t count) {
    const size_t first = std::min(record * kRecordBytes, input.size());
    const size_t last = std::min(first + count * kRecordBytes, input.size());
    return {input.begin() + static_cast<ptrdiff_t>(first),
            input.begin() + static_cast<ptrdiff_t>(last)};
  }

  static void insert(Input& input, size_t record, const Input& what) {
    const Input copy = what;
    input.insert(input.begin() + static_cast<ptrdiff_t>(record * kRecordBytes), copy.begin(),
                 copy.end());
  }

  std::mt19937_64 random_;
};

uint64_t number(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

void fuzz(uint64_t runs, uint64_t seconds, uint64_t seed) {
  Mutator mutator(seed);
  std::vector<Input> corpus;
  corpus.emplace_back(kRecordBytes, 0);
  const auto start = std::chrono::steady_clock::now();
  uint64_t done = 0;
  for (; runs == 0 || done < runs; ++done) {
    if (seconds != 0 && std::chrono::steady_clock::now() - start > std::chrono::seconds(seconds)) {
      break;
    }
    std::snprintf(crash_name, sizeof(crash_name), "crash-%llu-%llu",
                  static_cast<unsigned long long>(seed), static_cast<unsigned long long>(done));
    // Recent discoveries get more turns than old ones.
    const size_t recent = std::min<size_t>(corpus.size(), 32);
    const size_t pick = mutator.below(2) == 0 ? mutator.below(corpus.size())
                                              : corpus.size() - 1 - mutator.below(recent);
    Input input = mutator.mutate(corpus[pick], corpus);
    if (run(input) && corpus.size() < kMaxCorpus) corpus.push_back(std::move(input));
  }
  size_t edges = 0;
  for (uint8_t seen : edges_seen) edges += seen != 0;
  std::printf("%llu runs, %zu inputs in the corpus, %zu edges\n",
              static_cast<unsigned long long>(done), corpus.size(), edges);
}

}  // namespace

/// Called by instrumented code at every basic block.
extern "C" void __sanitizer_cov_trace_pc() {
  const auto here = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  uint8_t& count = edge_counts[(here ^ previous_edge) % edge_counts.size()];
  if (count != UINT8_MAX) ++count;
  previous_edge = here >> 1;
}

int main(int argc, char** argv) {
  ::signal(SIGABRT, on_signal);
  ::signal(SIGALRM, on_signal);
  __sanitizer_set_death_callback(save_current_input);
  uint64_t runs = 0;
  uint64_t seconds = 0;
  uint64_t seed = 1;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--runs" && has_value) {
      runs = number(argv[++i]);
    } else if (argument == "--seconds" && has_value) {
      seconds = number(argv[++i]);
    } else if (argument == "--seed" && has_value) {
      seed = number(argv[++i]);
    } else {
      files.emplace_back(argument);
    }
  }
  for (const std::string& file : files) {
    std::ifstream stream(file, std::ios::binary);
    run(Input(std::istreambuf_iterator<char>(stream), {}));
  }
  if (files.empty()) fuzz(runs, seconds, seed);
  return 0;
}
