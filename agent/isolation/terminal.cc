#include "agent/isolation/terminal.h"

#include <algorithm>
#include <limits>

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/sys/mount.h"
#include "common/sys/scoped_path.h"

namespace kata::isolation {

namespace {

constexpr const char* kDevpts = "/dev/pts";
constexpr const char* kConsole = "/dev/console";
// What a shell's redirection would make; the mount hides it.
constexpr mode_t kConsoleFileMode = 0666;
const dev_t kPtmxDevice = makedev(5, 2);

Result<UniqueFd> open_root() {
  UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail_call("open /");
  return root;
}

Result<UniqueFd> open_devpts() {
  KATA_TRY(auto root, open_root());
  KATA_TRY(auto directory, sys::open_in_root(root.get(), kDevpts, O_PATH | O_DIRECTORY));
  struct statfs info;
  if (::fstatfs(directory.get(), &info) < 0) return fail_call(fmt::format("statfs {}", kDevpts));
  if (info.f_type != DEVPTS_SUPER_MAGIC)
    return fail(Code::kFailedPrecondition, "{} of the container is not a devpts", kDevpts);
  return directory;
}

Result<UniqueFd> open_master() {
  KATA_TRY(auto directory, open_devpts());
  open_how how = {};
  how.flags = O_RDWR | O_NOCTTY | O_CLOEXEC;
  // Nor what somebody has mounted on it.
  how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;
  UniqueFd master(
      static_cast<int>(::syscall(SYS_openat2, directory.get(), "ptmx", &how, sizeof how)));
  if (!master) return fail_call(fmt::format("open {}/ptmx", kDevpts));
  struct stat info;
  if (::fstat(master.get(), &info) < 0) return fail_call("stat ptmx");
  if (!S_ISCHR(info.st_mode) || info.st_rdev != kPtmxDevice)
    return fail(Code::kFailedPrecondition, "{}/ptmx is not the device it should be", kDevpts);
  return master;
}

/// By the master, not by its name: another file may bear that by now.
Result<UniqueFd> open_slave(int master) {
  int locked = 0;
  if (::ioctl(master, TIOCSPTLCK, &locked) < 0) return fail_call("unlock the terminal");
  UniqueFd slave(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave) return fail_call("open the terminal");
  return slave;
}

Status set_size(int terminal, const oci::ConsoleSize& size) {
  // As runc: half a size is none.
  if (size.height == 0 || size.width == 0) return {};
  constexpr uint32_t kMax = std::numeric_limits<unsigned short>::max();
  winsize value = {};
  value.ws_row = static_cast<unsigned short>(std::min(size.height, kMax));
  value.ws_col = static_cast<unsigned short>(std::min(size.width, kMax));
  if (::ioctl(terminal, TIOCSWINSZ, &value) < 0) return fail_call("set the terminal's size");
  return {};
}

Result<UniqueFd> console_file() {
  KATA_TRY(auto root, open_root());
  KATA_TRY(auto place, sys::make_parent_in_root(root.get(), kConsole));
  auto open_there = [&place](int flags, mode_t mode = 0) {
    return UniqueFd(::openat(place.parent.get(), place.name.c_str(), flags | O_CLOEXEC, mode));
  };
  auto file = open_there(O_PATH | O_NOFOLLOW);
  if (!file && errno == ENOENT) {
    if (!open_there(O_WRONLY | O_CREAT | O_EXCL, kConsoleFileMode))
      return fail_call(fmt::format("create {}", kConsole));
    file = open_there(O_PATH | O_NOFOLLOW);
  }
  if (!file) return fail_call(fmt::format("open {}", kConsole));
  struct stat info;
  if (::fstat(file.get(), &info) < 0) return fail_call(fmt::format("stat {}", kConsole));
  if (S_ISLNK(info.st_mode)) return fail_call(fmt::format("open {}", kConsole), ELOOP);
  return file;
}

}  // namespace

Result<UniqueFd> take_terminal(const oci::Process& process) {
  KATA_TRY(auto master, open_master());
  KATA_TRY(auto slave, open_slave(master.get()));
  if (process.console_size) KATA_CHECK(set_size(master.get(), *process.console_size));
  if (::fchown(slave.get(), process.user.uid, static_cast<gid_t>(-1)) < 0)
    return fail_call("chown the terminal");
  if (::ioctl(slave.get(), TIOCSCTTY, 0) < 0) return fail_call("ioctl(setctty)");
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::dup3(slave.get(), fd, 0) < 0) return fail_call(fmt::format("dup the terminal to {}", fd));
  return master;
}

Status mount_console() {
  KATA_TRY(auto target, console_file());
  KATA_TRY(auto mount, sys::clone_mount(STDIN_FILENO, false));
  if (auto status = sys::attach_mount(mount.get(), target.get()); !status)
    return std::unexpected(status.error().with_stage(fmt::format("mount {}", kConsole)));
  return {};
}

}  // namespace kata::isolation
