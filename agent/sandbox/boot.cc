#include "agent/sandbox/boot.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

Status load_module(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno(fmt::format("open module {}", path));
  if (syscall(SYS_finit_module, file.get(), "", 0) == 0 || errno == EEXIST) return {};
  return fail_errno(fmt::format("load module {}", path));
}

}  // namespace

Status write_text(const std::string& path, std::string_view text) {
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return fail_errno(fmt::format("open {}", path));
  if (write(file.get(), text.data(), text.size()) < 0) {
    return fail_errno(fmt::format("write \"{}\" to {}", text, path));
  }
  return {};
}

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

Status load_modules(const std::filesystem::path& list) {
  constexpr size_t kMaxListBytes = 64 * 1024;
  auto content = sys::read_file(list, kMaxListBytes);
  if (!content && content.error().code() == Code::kNotFound) return {};
  if (!content) return std::unexpected(content.error());
  std::string_view rest = *content;
  while (!rest.empty()) {
    size_t end = std::min(rest.find('\n'), rest.size());
    if (end > 0) KATA_CHECK(load_module(std::string(rest.substr(0, end))));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
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
  return write_text(own + "/cgroup.procs", "0");
}

Status protect_self() {
  // An exec is born as a copy of the agent among the container's processes.
  if (prctl(PR_SET_DUMPABLE, 0) != 0) return fail_errno("prctl(SET_DUMPABLE)");
  KATA_CHECK(write_text("/proc/self/oom_score_adj", "-1000"));
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
