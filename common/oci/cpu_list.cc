#include "common/oci/cpu_list.h"

#include <array>
#include <charconv>
#include <optional>

#include "common/oci/json_reader.h"

namespace kata::oci {

namespace {

std::string_view trim(std::string_view text) {
  auto first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::optional<unsigned> number(std::string_view text) {
  unsigned value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value >= kMaxCpus)
    return std::nullopt;
  return value;
}

}  // namespace

Result<std::vector<unsigned>> parse_cpu_list(std::string_view text) {
  // How many ranges begin and end at each processor: a specification of megabytes may name all of
  // them a million times.
  std::array<uint32_t, kMaxCpus> begins{};
  std::array<uint32_t, kMaxCpus> ends{};
  for (bool more = true; more;) {
    auto comma = text.find(',');
    auto element = trim(text.substr(0, comma));
    more = comma != std::string_view::npos;
    if (more) text.remove_prefix(comma + 1);
    if (element.empty()) continue;
    auto dash = element.find('-');
    auto first = number(element.substr(0, dash));
    auto last = dash == std::string_view::npos ? first : number(element.substr(dash + 1));
    if (!first || !last || *first > *last)
      return fail(Code::kInvalidArgument, "{} is no processor below {} and no range of them",
                  quote(element), kMaxCpus);
    ++begins[*first];
    ++ends[*last];
  }
  std::vector<unsigned> cpus;
  uint32_t open_ranges = 0;
  for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) {
    open_ranges += begins[cpu];
    if (open_ranges > 0) cpus.push_back(cpu);
    open_ranges -= ends[cpu];
  }
  if (cpus.empty()) return fail(Code::kInvalidArgument, "no processor is named");
  return cpus;
}

}  // namespace kata::oci
