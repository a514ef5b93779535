// The data argument of mount(2), which is one page at most (internal to common/sys/mount.cc).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::sys {

/// The options joined by commas. The lower directories of an overlay that would not fit are named
/// by descriptors ("/proc/self/fd/7"), which this object holds open: keep it until after mount(2).
class MountData {
 public:
  /// InvalidArgument if a page does not hold it; NotFound for a missing lower directory.
  static Result<MountData> make(std::string_view type, std::span<const std::string> options);

  const std::string& text() const { return text_; }

 private:
  Result<std::string> shorten_lower(std::string_view lower);

  std::string text_;
  std::vector<UniqueFd> lower_;
};

/// MS_* for mount(2), from MOUNT_ATTR_* and words such as "sync".
unsigned long mount_flags(uint64_t attributes, std::span<const std::string> superblock);

}  // namespace kata::sys
