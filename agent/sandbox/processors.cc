#include "agent/sandbox/processors.h"

#include <algorithm>
#include <string>
#include <vector>

#include "agent/sandbox/uevents.h"
#include "common/oci/cpu_list.h"
#include "common/sys/file.h"

namespace kata::sandbox {
namespace {

namespace fs = std::filesystem;

/// A file of the kernel with a list of processors ("0-3").
Result<std::vector<unsigned>> read_list(const fs::path& file) {
  constexpr size_t kMaxListBytes = 4096;
  KATA_TRY(std::string text, sys::read_file(file, kMaxListBytes));
  text.resize(std::min(text.find('\n'), text.size()));
  return oci::parse_cpu_list(text);
}

/// The first `count` of those that are there run, the others do not.
Status switch_all(const std::vector<unsigned>& present, uint32_t count,
                  const fs::path& processors) {
  for (size_t i = 0; i < present.size(); ++i) {
    const fs::path file = processors / fmt::format("cpu{}", present[i]) / "online";
    const std::string_view wanted = i < count ? "1" : "0";
    const auto state = sys::read_file(file, 16);
    // The first one has no such file: it always runs.
    if (!state || state->starts_with(wanted)) continue;
    KATA_CHECK(sys::write_existing(file, wanted));
  }
  return {};
}

}  // namespace

Status use_processors(uint32_t count, std::chrono::seconds limit, const fs::path& processors) {
  KATA_TRY(const auto possible, read_list(processors / "possible"));
  if (count == 0 || count > possible.size())
    return fail(Code::kInvalidArgument, "{} processors: the guest takes 1 to {}", count,
                possible.size());
  const auto deadline = std::chrono::steady_clock::now() + limit;
  // Before the first look: what comes between is not missed.
  KATA_TRY(auto uevents, Uevents::open());
  for (;;) {
    KATA_TRY(const auto present, read_list(processors / "present"));
    KATA_CHECK(switch_all(present, count, processors));
    if (present.size() >= count) return {};
    KATA_TRY(const bool more, uevents.wait({"ACTION=add", "SUBSYSTEM=cpu"}, deadline));
    if (!more)
      return fail(Code::kNotFound, "{} of {} processors have come within {} s", present.size(),
                  count, limit.count());
  }
}

}  // namespace kata::sandbox
