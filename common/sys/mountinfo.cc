#include "common/sys/mountinfo.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "common/sys/file.h"

namespace kata::sys {
namespace {

constexpr size_t kMaxBytes = size_t{4} * 1024 * 1024;

/// Up to the separator, which goes too.
std::string_view take(std::string_view& text, char separator) {
  const std::string_view part = text.substr(0, text.find(separator));
  text.remove_prefix(std::min(part.size() + 1, text.size()));
  return part;
}

bool is_octal(char c) { return c >= '0' && c <= '7'; }

/// Blanks, line ends and backslashes are "\040" and the like.
std::string unescape(std::string_view text) {
  constexpr size_t kDigits = 3;
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const std::string_view digits = text.substr(at + 1, kDigits);
    if (text[at] != '\\' || digits.size() < kDigits || !std::ranges::all_of(digits, is_octal)) {
      out += text[at];
      continue;
    }
    int code = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), code, 8);
    out += static_cast<char>(code);
    at += kDigits;
  }
  return out;
}

bool parse_number(std::string_view text, uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

/// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
bool parse_line(std::string_view line, MountInfo& out) {
  if (!parse_number(take(line, ' '), out.id) || !parse_number(take(line, ' '), out.parent))
    return false;
  out.device = take(line, ' ');
  out.root = unescape(take(line, ' '));
  out.mount_point = unescape(take(line, ' '));
  out.options = take(line, ' ');
  while (true) {
    if (line.empty()) return false;
    const std::string_view tag = take(line, ' ');
    if (tag == "-") break;
    out.propagation += (out.propagation.empty() ? "" : " ") + std::string(tag);
  }
  out.type = unescape(take(line, ' '));
  take(line, ' ');
  out.super_options = line;
  return true;
}

}  // namespace

bool is_at_or_below(std::string_view path, std::string_view directory) {
  if (directory == "/") return path.starts_with('/');
  return path.starts_with(directory) &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

Result<std::vector<MountInfo>> read_mounts(const std::string& file) {
  KATA_TRY(const std::string text, read_file(file, kMaxBytes));
  std::vector<MountInfo> mounts;
  for (std::string_view rest = text; !rest.empty();) {
    MountInfo mount;
    if (parse_line(take(rest, '\n'), mount)) mounts.push_back(std::move(mount));
  }
  return mounts;
}

std::vector<const MountInfo*> mounts_below(const std::vector<MountInfo>& mounts, uint64_t mount,
                                           std::string_view directory) {
  std::vector<const MountInfo*> below;
  std::set<uint64_t> found;
  // A mount that was moved comes before what it is on.
  for (bool again = true; again;) {
    again = false;
    for (const MountInfo& one : mounts) {
      const bool is_on_it =
          one.parent == mount && one.id != mount && is_at_or_below(one.mount_point, directory);
      if ((!is_on_it && !found.contains(one.parent)) || !found.insert(one.id).second) continue;
      below.push_back(&one);
      again = true;
    }
  }
  return below;
}

}  // namespace kata::sys
