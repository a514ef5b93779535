#include "agent/storage/held_mounts.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/statfs.h>

#include "common/log/log.h"
#include "common/sys/mount.h"

namespace kata::storage {

Result<std::unique_ptr<HeldMounts>> HeldMounts::of(pid_t process, std::string container_id,
                                                   std::vector<std::string> shares) {
  const std::string path = fmt::format("/proc/{}/ns/mnt", process);
  UniqueFd mounts(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!mounts) return fail_errno("open " + path);
  return std::unique_ptr<HeldMounts>(
      new HeldMounts(std::move(mounts), std::move(container_id), std::move(shares)));
}

std::unique_ptr<HeldMounts> HeldMounts::of_agent(std::string container_id,
                                                 std::vector<std::string> shares) {
  return std::unique_ptr<HeldMounts>(
      new HeldMounts(UniqueFd(), std::move(container_id), std::move(shares)));
}

void HeldMounts::release() {
  UniqueFd mounts;
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(released_, true)) return;
    mounts = std::move(namespace_);
  }
  for (const std::string& share : shares_) {
    // A share and its submounts have one queue, which virtiofsd serves in order, so an answer of
    // statfs(2), which is never cached, comes after those to all requests before it: first to the
    // reads, whose ends put the releases into the queue, then to the releases.
    for (int round = 0; round < 2; ++round) {
      struct statfs ignored {};
      if (::statfs(share.c_str(), &ignored) == 0) continue;
      log::warning("share does not answer",
                   {{"share", share}, {"error", std::generic_category().message(errno)}});
      break;
    }
    // The container's directory of the share.
    const auto detached = sys::detach_all_below(std::filesystem::path(share) / container_id_);
    if (!detached) log::warning("mounts left", {{"error", detached.error().message()}});
  }
}

}  // namespace kata::storage
