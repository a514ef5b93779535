// What host and guest both say of a file system of huge pages (proto/agent.proto, HugepageVolume).
#pragma once

#include <cstdint>
#include <string>

namespace kata::storage {

/// A directory of the host that is on hugetlbfs, for which the guest mounts one of its own.
struct HugepageVolume {
  std::string name;  // the same for the same directory
  uint64_t page_bytes = 0;
  uint64_t size_bytes = 0;  // 0: no limit
  uint32_t mode = 0755;
  uint32_t uid = 0;
  uint32_t gid = 0;

  bool operator==(const HugepageVolume&) const = default;
};

}  // namespace kata::storage
