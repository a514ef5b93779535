// The guest's huge pages, and its file systems of them (Linux: Documentation/admin-guide/mm/
// hugetlbpage.rst).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "common/agent_protocol.h"
#include "common/error/error.h"
#include "common/oci/spec.h"
#include "common/storage/hugepage_volume.h"

namespace kata::storage {

/// Of the whole guest, for its containers. Any thread; the lock is held while the kernel looks for
/// free memory.
class Hugepages {
 public:
  /// `sysfs`: a directory hugepages-<size>kB for each size (tests); `mounts`: where volumes are.
  explicit Hugepages(std::filesystem::path sysfs = "/sys/kernel/mm/hugepages",
                     std::filesystem::path mounts = std::filesystem::path(kHugepageVolumes));

  /// Sets aside what a container may use; sizes that are not named stay as they are.
  /// ResourceExhausted: the guest has not so much memory in pieces of that size, and nothing has
  /// changed. What the kernel's command line has set aside is not given back.
  Status reserve(const std::string& container, const std::vector<oci::HugepageLimit>& limits);
  /// Of a container that has gone; also of one that has never reserved any.
  void release(const std::string& container);

  /// Mounts a volume unless it is there.
  Status mount(const HugepageVolume& volume);
  /// From now on pages that nobody has set aside are made of what is free when they are used: what
  /// a container without limits has under runc, too.
  Status make_on_demand();

 private:
  using Sizes = std::map<uint64_t, uint64_t>;  // bytes, by the size of a page

  std::filesystem::path directory_of(uint64_t page_bytes) const;
  Status set_aside(uint64_t page_bytes);

  const std::filesystem::path sysfs_;
  const std::filesystem::path mounts_;
  std::mutex mutex_;
  std::map<std::string, Sizes> reserved_;  // guarded by mutex_
  std::map<uint64_t, uint64_t> at_boot_;   // guarded by mutex_; pages, by their size
  std::set<std::string> mounted_;          // guarded by mutex_
};

/// Whether a container uses huge pages of a file system and says nowhere how many.
bool wants_hugepages_on_demand(const oci::Spec& spec, bool has_volumes);

}  // namespace kata::storage
