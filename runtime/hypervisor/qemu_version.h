// What QEMU says of itself.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "common/sys/async.h"

namespace kata::hypervisor {

struct QemuVersion {
  int major = 0;
  int minor = 0;
  std::string text;  // "7.2.22"
};

/// The oldest that our command line is written for.
inline constexpr int kOldestQemuMajor = 7;
inline constexpr int kOldestQemuMinor = 2;

bool is_new_enough(const QemuVersion& version);

/// From the first line of `qemu --version`: "QEMU emulator version 7.2.22 (Debian …)".
/// InvalidArgument: it does not look like that.
Result<QemuVersion> parse_qemu_version(std::string_view output);

/// Runs `qemu --version`. NotFound: no such file.
Async<QemuVersion> query_qemu_version(const std::filesystem::path& qemu);

}  // namespace kata::hypervisor
