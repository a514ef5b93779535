#include "agent/sandbox/boot.h"

#include <cstring>
#include <string>

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/isolation/cgroup.h"
#include "common/base/unique_fd.h"
#include "common/sys/file.h"

namespace kata::sandbox {
namespace {

struct FileSystem {
  const char* type;
  const char* target;
  unsigned long flags;
  const char* data;
};

constexpr unsigned long kPlain = MS_NOSUID | MS_NODEV | MS_NOEXEC;

constexpr FileSystem kFileSystems[] = {
    {"proc", "/proc", kPlain, nullptr},
    {"sysfs", "/sys", kPlain, nullptr},
    {"devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=0755"},
    {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666"},
    {"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777"},
    {"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755"},
    {"tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777"},
    {"cgroup2", isolation::kCgroupRoot, kPlain, "nsdelegate"},
};

/// Not as 0, 1 or 2, which are free when the initramfs has no /dev/console for the kernel to open.
Result<UniqueFd> open_above_streams(const char* path, int flags) {
  UniqueFd file(open(path, flags | O_CLOEXEC));
  if (!file) return fail_errno(fmt::format("open {}", path));
  UniqueFd moved(fcntl(file.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!moved) return fail_errno(fmt::format("duplicate {}", path));
  return moved;
}

}  // namespace

Status mount_file_systems() {
  for (const FileSystem& entry : kFileSystems) {
    if (mkdir(entry.target, 0755) != 0 && errno != EEXIST) {
      return fail_errno(fmt::format("make {}", entry.target));
    }
    if (mount(entry.type, entry.target, entry.type, entry.flags, entry.data) == 0) continue;
    // A kernel with CONFIG_DEVTMPFS_MOUNT has mounted /dev itself.
    if (errno == EBUSY) continue;
    return fail_errno(fmt::format("mount {} on {}", entry.type, entry.target));
  }
  return {};
}

Status open_console() {
  KATA_TRY(UniqueFd console, open_above_streams("/dev/console", O_WRONLY | O_NOCTTY));
  KATA_TRY(UniqueFd null, open_above_streams("/dev/null", O_RDONLY));
  dup2(null.get(), STDIN_FILENO);
  dup2(console.get(), STDOUT_FILENO);
  dup2(console.get(), STDERR_FILENO);
  return {};
}

Status bring_loopback_up() {
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("make a socket for the loopback interface");
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  if (ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) return fail_errno("ask for lo's flags");
  request.ifr_flags |= IFF_UP;
  if (ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) return fail_errno("bring lo up");
  return {};
}

Status enter_own_cgroup() {
  const std::string own = std::string(isolation::kCgroupRoot) + "/kata-agent";
  if (mkdir(own.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno("make " + own);
  return sys::write_existing(own + "/cgroup.procs", "0");
}

Status protect_self() {
  // An exec is born as a copy of the agent among the container's processes.
  if (prctl(PR_SET_DUMPABLE, 0) != 0) return fail_errno("prctl(SET_DUMPABLE)");
  KATA_CHECK(sys::write_existing("/proc/self/oom_score_adj", "-1000"));
  constexpr rlim_t kDescriptors = 1024 * 1024;
  rlimit limit{kDescriptors, kDescriptors};
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return fail_errno("raise RLIMIT_NOFILE");
  return {};
}

void power_off() {
  sync();
  reboot(RB_POWER_OFF);
}

}  // namespace kata::sandbox
