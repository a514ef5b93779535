#include "common/sys/file.h"

#include <algorithm>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"

namespace kata::sys {
namespace {

Status write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    ssize_t written = write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno("write");
    content.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

}  // namespace

Result<std::string> read_file(const std::filesystem::path& path, size_t limit_bytes) {
  // O_NONBLOCK: a FIFO would wait for its writer.
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return fail_errno(fmt::format("open {}", path.native()));
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return fail_errno(fmt::format("stat {}", path.native()));
  if (S_ISDIR(info.st_mode)) return fail_errno(fmt::format("read {}", path.native()), EISDIR);
  if (!S_ISREG(info.st_mode))
    return fail(Code::kInvalidArgument, "read {}: it is not a regular file", path.native());
  std::string content;
  constexpr size_t kStepBytes = 64 * 1024;
  while (true) {
    size_t have = content.size();
    content.resize(have + std::min(kStepBytes, limit_bytes + 1 - have));
    ssize_t got = read(fd.get(), content.data() + have, content.size() - have);
    if (got < 0 && errno == EINTR)
      got = 0;
    else if (got < 0)
      return fail_errno(fmt::format("read {}", path.native()));
    else if (got == 0) {
      content.resize(have);
      return content;
    }
    content.resize(have + static_cast<size_t>(got));
    if (content.size() > limit_bytes)
      return fail(Code::kResourceExhausted, "read {}: it is larger than {} bytes", path.native(),
                  limit_bytes);
  }
}

Status write_file_atomically(const std::filesystem::path& path, std::string_view content,
                             mode_t mode) {
  std::filesystem::path temporary = path;
  temporary += ".new";
  UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd) return fail_errno(fmt::format("create {}", temporary.native()));
  CleanupStack cleanup;
  cleanup.add([&temporary] { unlink(temporary.c_str()); });
  if (auto written = write_all(fd.get(), content); !written)
    return std::unexpected(written.error().with_stage(temporary.native()));
  if (rename(temporary.c_str(), path.c_str()) != 0)
    return fail_errno(fmt::format("rename {} to {}", temporary.native(), path.native()));
  cleanup.release();
  return {};
}

Status write_existing(const std::filesystem::path& path, std::string_view content) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return fail_errno(fmt::format("open {}", path.native()));
  if (write(fd.get(), content.data(), content.size()) < 0)
    return fail_errno(fmt::format("write \"{}\" to {}", content, path.native()));
  return {};
}

Result<UniqueFd> memory_file(std::string_view content) {
  UniqueFd file(memfd_create("kata", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return fail_errno("memfd_create");
  KATA_CHECK(write_all(file.get(), content));
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (fcntl(file.get(), F_ADD_SEALS, kSeals) != 0) return fail_errno("seal a memory file");
  if (lseek(file.get(), 0, SEEK_SET) != 0) return fail_errno("rewind a memory file");
  return file;
}

}  // namespace kata::sys
