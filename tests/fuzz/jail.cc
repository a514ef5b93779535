#include "tests/fuzz/jail.h"

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/sys/file.h"
#include "common/sys/mount.h"

namespace kata::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr const char* kScratch = "/mnt";
constexpr const char* kCgroup = "/sys/fs/cgroup";

Status check_user() {
  KATA_TRY(const std::string map, sys::read_file("/proc/self/uid_map", 4096));
  std::istringstream words(map);
  uint32_t inside = 0;
  uint32_t outside = 0;
  uint32_t count = 0;
  std::string more;
  words >> inside >> outside >> count;
  if (!words || outside == 0 || count != 1 || words >> more || getpid() != 1)
    return fail(Code::kFailedPrecondition,
                "this runs what it is told to: start it by 'tools/test fuzz', which locks it in");
  return {};
}

Result<UniqueFd> open_directory(const fs::path& path) {
  UniqueFd directory(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return fail_errno("open " + path.native());
  return directory;
}

/// The fuzzer must not be in the group below which the agent makes others (cgroups(7), no internal
/// processes).
Status leave_root_group() {
  const fs::path own = fs::path(kCgroup) / "fuzzer";
  if (::mkdir(own.c_str(), 0755) != 0) return fail_errno("mkdir " + own.native());
  return sys::write_existing(own / "cgroup.procs", "0");
}

}  // namespace

Status enter_jail() {
  KATA_CHECK(check_user());
  const fs::path work = fs::current_path();
  KATA_TRY(const UniqueFd root, open_directory("/"));
  KATA_TRY(const UniqueFd here, open_directory(work));
  KATA_TRY(const UniqueFd writable, sys::clone_mount(here.get(), false));
  KATA_CHECK(sys::set_mount_attributes(root.get(), MOUNT_ATTR_RDONLY, 0, true));
  KATA_TRY(const UniqueFd target, open_directory(work));
  KATA_CHECK(sys::attach_mount(writable.get(), target.get()));
  if (::chdir(work.c_str()) != 0) return fail_errno("chdir " + work.native());
  KATA_CHECK(sys::mount({"tmpfs", "tmpfs", kScratch, {"size=64m", "mode=755"}}));
  KATA_CHECK(sys::mount({"cgroup2", "cgroup2", kCgroup, {}}));
  ::setenv("TMPDIR", kScratch, 1);
  return leave_root_group();
}

}  // namespace kata::fuzz
