#include "runtime/storage/hugepages.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "common/base/unique_fd.h"

namespace kata::storage {

Result<std::optional<HugepageVolume>> find_hugepage_volume(const std::filesystem::path& source) {
  const UniqueFd fd(::open(source.c_str(), O_PATH | O_CLOEXEC));
  struct statfs file_system {};
  // Whoever uses the source says what is wrong with it.
  if (!fd || ::fstatfs(fd.get(), &file_system) != 0 || file_system.f_type != HUGETLBFS_MAGIC)
    return std::nullopt;
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_errno("stat " + source.native());
  if (!S_ISDIR(info.st_mode))
    return fail(Code::kFailedPrecondition,
                "{} is a file of huge pages of the host, which a VM cannot have: mount the "
                "directory, for which the guest has one of its own",
                source.native());
  const auto page_bytes = static_cast<uint64_t>(file_system.f_bsize);
  return HugepageVolume{.name = fmt::format("{:x}-{:x}", info.st_dev, info.st_ino),
                        .page_bytes = page_bytes,
                        .size_bytes = uint64_t{file_system.f_blocks} * page_bytes,
                        .mode = info.st_mode & 07777,
                        .uid = info.st_uid,
                        .gid = info.st_gid};
}

}  // namespace kata::storage
