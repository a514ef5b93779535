// The mounts of this process's namespace (proc(5), /proc/pid/mountinfo).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/error/error.h"

namespace kata::sys {

struct MountInfo {
  uint64_t id = 0;
  uint64_t parent = 0;
  std::string device;       // "8:1"
  std::string root;         // which part of the file system it is
  std::string mount_point;  // as this process sees it
  std::string options;      // of the mount: "rw,relatime"
  std::string propagation;  // "shared:5 master:1", mount_namespaces(7); empty: private
  std::string type;
  std::string super_options;
};

/// Whether `path` is `directory` or below it. By name: both absolute, without "." and "..".
bool is_at_or_below(std::string_view path, std::string_view directory);

/// Of a file of that form. Lines that are none are passed over. Blocking, any thread.
Result<std::vector<MountInfo>> read_mounts(const std::string& file = "/proc/self/mountinfo");

/// What is mounted on `mount` at or below `directory` of it, and on that in turn: not `mount`
/// itself.
std::vector<const MountInfo*> mounts_below(const std::vector<MountInfo>& mounts, uint64_t mount,
                                           std::string_view directory);

}  // namespace kata::sys
