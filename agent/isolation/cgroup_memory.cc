#include "agent/isolation/cgroup_memory.h"

#include <charconv>
#include <optional>
#include <string>

#include "agent/isolation/cgroup_file.h"
#include "agent/isolation/cgroup_limit.h"

namespace kata::isolation {

namespace {

/// Nothing for "max", or without the file.
std::optional<int64_t> current(int group, const char* file) {
  auto text = first_line(group, file);
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// runc's, which is best effort: usage that cannot be read forbids nothing.
Status check_usage(int group, const oci::MemoryResources& memory) {
  if (!memory.check_before_update.value_or(false)) return {};
  auto usage = current(group, "memory.current");
  if (!usage) return {};
  if (int64_t swap = memory.swap.value_or(0); swap > 0 && swap <= *usage)
    return fail(Code::kFailedPrecondition, "{}: rejecting memory+swap limit {} <= usage {}",
                spec_path("memory.swap"), swap, *usage);
  if (int64_t limit = memory.limit.value_or(0); limit > 0 && limit <= *usage)
    return fail(Code::kFailedPrecondition, "{}: rejecting memory limit {} <= usage {}",
                spec_path("memory.limit"), limit, *usage);
  return {};
}

/// memory.swap counts both together in v1; an update of the one alone keeps the sum, as runc's.
int64_t wanted_swap(int group, const oci::MemoryResources& memory) {
  int64_t swap = memory.swap.value_or(0);
  if (swap != 0 || memory.limit.value_or(0) <= 0) return swap;
  auto limit_before = current(group, "memory.max");
  auto swap_before = current(group, "memory.swap.max");
  return limit_before && swap_before ? *limit_before + *swap_before : 0;
}

/// In v2 swap counts alone. Empty: it is not to be changed.
Result<std::string> swap_value(int64_t swap, int64_t limit) {
  if (swap == kUnlimited || (limit == kUnlimited && swap == 0)) return "max";
  if (swap == 0) return "";
  if (limit <= 0)
    return fail(Code::kInvalidArgument, "{}: unable to set swap limit without memory limit",
                spec_path("memory.swap"));
  if (swap < limit)
    return fail(Code::kInvalidArgument, "{}: memory+swap limit should be >= memory limit",
                spec_path("memory.swap"));
  return fmt::to_string(swap - limit);
}

}  // namespace

Status apply_memory(int group, const oci::MemoryResources& memory) {
  KATA_CHECK(check_usage(group, memory));
  int64_t limit = memory.limit.value_or(0);
  // An update may name the one without the other.
  int64_t effective = limit != 0 ? limit : current(group, "memory.max").value_or(0);
  KATA_TRY(auto swap, swap_value(wanted_swap(group, memory), effective));
  if (!swap.empty()) {
    auto status = write_cgroup_file(group, "memory.swap.max", swap);
    // A kernel without swap keeps every limit on it.
    if (!status && !lacks_file(group, "memory.swap.max", status))
      return std::unexpected(status.error().with_stage(spec_path("memory.swap")));
  }
  if (limit != 0)
    KATA_CHECK(write_limit(group, {"memory", "memory.max", "memory.limit"}, amount(limit)));
  if (int64_t low = memory.reservation.value_or(0); low != 0)
    KATA_CHECK(write_limit(group, {"memory", "memory.low", "memory.reservation"}, amount(low)));
  return {};
}

}  // namespace kata::isolation
