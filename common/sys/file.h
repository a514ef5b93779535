// Whole small files.
#pragma once

#include <charconv>
#include <concepts>
#include <filesystem>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::sys {

/// The content of a regular or kernel file. NotFound: no such file. ResourceExhausted: it holds
/// more than `limit_bytes`.
Result<std::string> read_file(const std::filesystem::path& path, size_t limit_bytes);

/// The number that a file of /proc or /sys begins with. Internal: it begins with none that fits.
template <std::integral Number>
Result<Number> read_number(const std::filesystem::path& path) {
  constexpr size_t kMaxBytes = 64;
  KATA_TRY(const std::string text, read_file(path, kMaxBytes));
  Number number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc())
    return fail(Code::kInternal, "{} holds no number: {}", path.native(), text);
  return number;
}

/// Replaces the file: a reader sees the old content or the new, never a part (written beside it
/// and renamed; not synced, since what we write does not outlive a boot of the host).
Status write_file_atomically(const std::filesystem::path& path, std::string_view content,
                             mode_t mode);

/// Writes to a file that is there, as those of /proc and /sys are, in one write(2).
Status write_existing(const std::filesystem::path& path, std::string_view content);

/// A file without a name that holds `content` for ever, to be read from its start.
Result<UniqueFd> memory_file(std::string_view content);

}  // namespace kata::sys
