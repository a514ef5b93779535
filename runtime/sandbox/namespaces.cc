#include "runtime/sandbox/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "common/base/unique_fd.h"

namespace kata::sandbox {

Status enter_private_mount_namespace() {
  if (unshare(CLONE_NEWNS) != 0) return fail_errno("enter a private mount namespace");
  if (mount("", "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0)
    return fail_errno("make / a slave mount");
  return {};
}

Status enter_network_namespace(const std::optional<std::string>& path) {
  if (!path) return {};
  if (path->empty()) {
    if (unshare(CLONE_NEWNET) != 0) return fail_errno("create a network namespace");
    return {};
  }
  UniqueFd fd(open(path->c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return fail_errno(fmt::format("open the network namespace {}", *path));
  if (setns(fd.get(), CLONE_NEWNET) != 0)
    return fail_errno(fmt::format("enter the network namespace {}", *path));
  return {};
}

Result<bool> is_network_namespace_of(int fd) {
  if (fd < 0) return true;
  struct stat theirs {};
  struct stat ours {};
  if (fstat(fd, &theirs) != 0 || stat("/proc/self/ns/net", &ours) != 0)
    return fail_errno("compare network namespaces");
  return theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

}  // namespace kata::sandbox
