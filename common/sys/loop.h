// Image files as block devices of this kernel (loop(4)).
#pragma once

#include <filesystem>
#include <string>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::sys {

/// The device is freed by the kernel when nobody has it open or mounted any more: keep `device`
/// until it is mounted.
struct LoopDevice {
  UniqueFd device;
  std::string path;
};

/// Any thread. ResourceExhausted: other processes were faster at each try.
Result<LoopDevice> attach_loop(const std::filesystem::path& image, bool read_only);

}  // namespace kata::sys
