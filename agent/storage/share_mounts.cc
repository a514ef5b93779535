#include "agent/storage/share_mounts.h"

#include <set>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/mount.h>

#include "common/agent_protocol.h"
#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/log/log.h"

namespace kata::storage {
namespace {

/// "<share>/.binds/7" of "<share>/.binds/7/upper"; empty: another path.
std::string place_of(std::string_view share, std::string_view path) {
  const std::string directory = fmt::format("{}/{}/", share, kShareBinds);
  if (!path.starts_with(directory)) return {};
  return std::string(path.substr(0, path.find('/', directory.size())));
}

/// O_DIRECTORY has the kernel mount what is there to be mounted. Files are no submounts; and what
/// is not there the container will hear of.
void walk_into(const std::string& place) {
  const UniqueFd directory(::open(place.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (directory || errno == ENOTDIR || errno == ENOENT) return;
  log::warning("the container has a volume of its own, with locks and caches of its own",
               {{"volume", place}, {"error", fail_errno("open").error().message()}});
}

}  // namespace

std::vector<std::string> ShareMounts::acquire(const std::vector<std::string>& shares,
                                              const std::vector<std::string>& paths) {
  std::set<std::string> places;
  for (const std::string& share : shares)
    for (const std::string& path : paths) places.insert(place_of(share, path));
  places.erase("");
  {
    const std::lock_guard lock(mutex_);
    for (const std::string& place : places) ++users_[place];
  }
  // Each of several that have the same place does it for itself: virtiofsd may take its time, and
  // the others must not wait for it.
  for (const std::string& place : places) walk_into(place);
  return {places.begin(), places.end()};
}

void ShareMounts::release(std::vector<std::string>& places) {
  const std::lock_guard lock(mutex_);
  for (const std::string& place : std::exchange(places, {})) {
    const auto found = users_.find(place);
    if (found == users_.end() || --found->second > 0) continue;
    users_.erase(found);
    // EINVAL: it was no mount.
    ::umount2(place.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  }
}

}  // namespace kata::storage
