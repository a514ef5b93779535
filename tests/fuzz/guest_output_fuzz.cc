// What a guest, or a QEMU that it has taken over, sends to the host, and what containers write for
// the agent. The first byte says as what the rest is read; seeds are files of text.
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent.pb.h"
#include "agent/isolation/user.h"
#include "agent/rpc/metrics.h"
#include "common/base/unique_fd.h"
#include "common/log/log.h"
#include "common/sys/output_tail.h"
#include "runtime/hypervisor/console.h"
#include "runtime/hypervisor/qmp_message.h"
#include "shim/events/timestamp.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/mutation.h"

namespace kata::fuzz {
namespace {

constexpr char kConsole = 'c';
constexpr char kQmp = 'q';
constexpr char kPasswd = 'p';
constexpr char kMetrics = 'm';
constexpr char kAnswer = 'a';

/// Two pieces: where a read ends is the sender's choice, too.
std::pair<std::string_view, std::string_view> cut(std::string_view text) {
  const size_t at = text.empty() ? 0 : static_cast<unsigned char>(text.front()) % text.size();
  return {text.substr(0, at), text.substr(at)};
}

UniqueFd memory_file(std::string_view content) {
  UniqueFd file(::memfd_create("fuzz", MFD_CLOEXEC));
  expect(
      ::write(file.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()),
      "a file in memory");
  return file;
}

bool is_printable(std::string_view line) {
  for (const char c : line)
    if (c < 0x20 || c > 0x7e) return false;
  return true;
}

/// The guest's console ends up in the host's log: one line each, with nothing that a terminal
/// obeys.
void take_console(std::string_view text) {
  static const UniqueFd log_file(::memfd_create("log", MFD_CLOEXEC));
  log::set_output(log_file.get());
  log::set_level(log::Level::kDebug);
  expect(::ftruncate(log_file.get(), 0) == 0 && ::lseek(log_file.get(), 0, SEEK_SET) == 0, "log");
  const auto to_log = hypervisor::log_console_lines();
  size_t lines = 0;
  hypervisor::ConsoleLines console([&](const std::string& line) {
    expect(!line.empty() && line.size() <= hypervisor::ConsoleLines::kMaxLineBytes &&
               is_printable(line),
           "a line of the console that is none");
    to_log(line);
    ++lines;
  });
  const auto [first, rest] = cut(text);
  console.feed(first);
  console.feed(rest);
  console.finish();
  std::string written(static_cast<size_t>(::lseek(log_file.get(), 0, SEEK_CUR)), '\0');
  expect(::pread(log_file.get(), written.data(), written.size(), 0) ==
             static_cast<ssize_t>(written.size()),
         "read the log");
  size_t logged = 0;
  for (const char c : written) {
    logged += c == '\n';
    expect(c == '\n' || is_printable({&c, 1}), "a log with control characters");
  }
  expect(logged == lines, "a line of the console that is not one of the log");
  log::set_level(log::Level::kInfo);
}

void take_qmp(std::string_view text) {
  hypervisor::QmpParser whole;
  const auto at_once = whole.feed(text);
  if (!at_once) expect_readable(at_once.error());
  hypervisor::QmpParser parser;
  size_t messages = 0;
  const auto [first, rest] = cut(text);
  for (const auto piece : {first, rest}) {
    auto some = parser.feed(piece);
    if (!some) return expect(!at_once, "a failure that depends on where the bytes are cut");
    messages += some->size();
  }
  expect(at_once && messages == at_once->size(), "messages that depend on where they are cut");
}

/// /etc/passwd of a container's image.
void take_passwd(std::string_view text) {
  const UniqueFd file = memory_file(text);
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  for (const uid_t uid : {0U, 1000U}) expect(!isolation::home_of(uid, path).empty(), "no home");
}

void take_metrics(std::string_view text) {
  const auto metrics =
      rpc::read_metrics([&](const char*) -> Result<std::string> { return std::string(text); });
  expect(metrics.ByteSizeLong() < 64 * 1024 + 64 * text.size(), "metrics out of nothing");
}

/// The end of a process as the guest tells it becomes an event of containerd's.
void take_answer(std::string_view bytes) {
  agent::v1::WaitProcessResponse response;
  if (!response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  google::protobuf::Timestamp timestamp;
  events::set_timestamp(timestamp, std::chrono::system_clock::time_point(
                                       std::chrono::nanoseconds(response.exited_at_unix_ns())));
  expect(timestamp.nanos() >= 0 && timestamp.nanos() < 1'000'000'000, "a timestamp that is none");
}

void take(std::string_view input) {
  if (input.empty()) return;
  const std::string_view rest = input.substr(1);
  switch (input.front()) {
    case kConsole:
      return take_console(rest);
    case kQmp:
      return take_qmp(rest);
    case kPasswd:
      return take_passwd(rest);
    case kMetrics:
      return take_metrics(rest);
    case kAnswer:
      return take_answer(rest);
    default:
      return;
  }
}

/// One of QEMU's lines changes as JSON.
std::string mutate_line(std::string_view lines, Random& random) {
  std::vector<std::string> all(1);
  for (const char c : lines)
    if (c == '\n')
      all.emplace_back();
    else
      all.back() += c;
  std::string& line = all[random.below(all.size())];
  line = mutate_json(line, random);
  std::string out;
  for (const std::string& one : all) out += one + "\n";
  out.pop_back();
  return out;
}

}  // namespace
}  // namespace kata::fuzz

using namespace kata::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  take(as_text(data, size));
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  Random random(seed);
  const auto input = as_text(data, size);
  if (input.empty() || random.one_in(50))
    return put_result(mutate_bytes(input, random), data, max_size);
  const auto rest = input.substr(1);
  std::string changed = input.front() == kQmp && !random.one_in(3) ? mutate_line(rest, random)
                        : input.front() == kAnswer                 ? mutate_message(rest, random)
                                                                   : mutate_bytes(rest, random);
  return put_result(input.front() + changed, data, max_size);
}
