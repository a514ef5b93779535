#include "runtime/sandbox/host_oom.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>

#include <fmt/format.h>

#include "common/sys/file.h"

namespace kata::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = 64 * 1024;
constexpr uint64_t kBytesPerMib = 1024 * 1024;
/// v1 has no word for "none": the highest number of whole pages.
constexpr uint64_t kNoLimit = uint64_t{1} << 62;

/// Of v2 and v1 (Linux: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst).
constexpr std::array kEventFiles = {"memory.events", "memory.oom_control"};
constexpr std::array kLimitFiles = {"memory.max", "memory.limit_in_bytes"};

uint64_t number_at(std::string_view text) {
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

uint64_t oom_kills(const fs::path& group) {
  constexpr std::string_view kKey = "oom_kill ";
  for (const char* name : kEventFiles) {
    const std::string events = "\n" + sys::read_file(group / name, kMaxFileBytes).value_or("");
    const size_t line = events.find("\n" + std::string(kKey));
    if (line != std::string::npos)
      return number_at(std::string_view(events).substr(line + 1 + kKey.size()));
  }
  return 0;
}

struct Limit {
  uint64_t bytes = kNoLimit;
  fs::path group;
};

/// The lowest of a group and those above it.
Limit limit_of(const fs::path& group) {
  Limit lowest;
  for (fs::path at = group; at.has_relative_path(); at = at.parent_path()) {
    for (const char* name : kLimitFiles) {
      const auto text = sys::read_file(at / name, kMaxFileBytes);
      if (!text || text->starts_with("max")) continue;
      if (const uint64_t bytes = number_at(*text); bytes < lowest.bytes) lowest = {bytes, at};
    }
  }
  return lowest;
}

}  // namespace

std::optional<std::string> describe_oom_kill(const std::vector<fs::path>& groups) {
  for (const fs::path& group : groups) {
    const uint64_t kills = oom_kills(group);
    if (kills == 0) continue;
    const Limit limit = limit_of(group);
    if (limit.group.empty())
      return fmt::format("the host is out of memory and has ended {} of the pod's processes",
                         kills);
    return fmt::format(
        "the host has ended {} of the pod's processes, which need more memory than the limit of {} "
        "MiB in {}: raise the pod's limits, or the overhead of its RuntimeClass",
        kills, limit.bytes / kBytesPerMib, limit.group.native());
  }
  return std::nullopt;
}

}  // namespace kata::sandbox
