#include "agent/isolation/mounts.h"

#include <algorithm>
#include <array>
#include <climits>
#include <filesystem>
#include <optional>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "agent/isolation/cgroup.h"
#include "agent/isolation/copy_directory.h"
#include "common/sys/mount.h"
#include "common/sys/scoped_path.h"

namespace kata::isolation {

namespace {

constexpr mode_t kDirectoryMode = 0755;
constexpr mode_t kFileMode = 0755;

// Emulated by lxcfs, so commonly mounted upon.
constexpr auto kMountableInProc = std::to_array<std::string_view>({
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
});

std::string clean(const std::string& path) {
  auto text = std::filesystem::path(path).lexically_normal().string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

bool is_read_only(const oci::Mount& mount) {
  return (sys::parse_mount_options(mount.options).attr_set & MOUNT_ATTR_RDONLY) != 0;
}

/// Devices and files go into these before the container starts.
bool sealed_later(const oci::Mount& mount) {
  return !is_bind(mount) && (mount.type == "tmpfs" || clean(mount.destination) == "/dev");
}

Result<std::string> path_of(int fd) {
  std::array<char, PATH_MAX> buffer;
  auto link = fmt::format("/proc/self/fd/{}", fd);
  ssize_t length = ::readlink(link.c_str(), buffer.data(), buffer.size());
  if (length < 0) return fail_call(fmt::format("readlink {}", link));
  return std::string(buffer.data(), static_cast<size_t>(length));
}

bool is_procfs(const std::string& path) {
  struct statfs info;
  return ::statfs(path.c_str(), &info) == 0 && info.f_type == PROC_SUPER_MAGIC;
}

/// Against images whose links lead a mount on top of /proc or into it, where it would change what
/// the runtime and security modules read there.
Status check_proc_target(const oci::Mount& mount, const std::string& source, int rootfs,
                         int target) {
  KATA_TRY(auto root_path, path_of(rootfs));
  KATA_TRY(auto target_path, path_of(target));
  auto inside = root_path == "/" ? target_path : target_path.substr(root_path.size());
  if (inside == "/proc") {
    if (is_bind(mount) && is_procfs(source)) return {};
    return fail(Code::kInvalidArgument, "\"{}\" cannot be mounted because it is not of type proc",
                inside);
  }
  if (!inside.starts_with("/proc/")) return {};
  if (std::ranges::find(kMountableInProc, inside) != kMountableInProc.end()) return {};
  // The spec's own wish, not a link's: runc lets it pass.
  if (mount.type == "tmpfs" && clean(mount.destination) == inside) return {};
  return fail(Code::kInvalidArgument, "\"{}\" cannot be mounted because it is inside /proc",
              inside);
}

Status check_ordinary_directory(const oci::Mount& mount, int rootfs) {
  auto existing = sys::open_in_root(rootfs, mount.destination, O_PATH | O_NOFOLLOW);
  struct stat info;
  if (existing && ::fstat(existing->get(), &info) == 0 && !S_ISDIR(info.st_mode))
    return fail(Code::kInvalidArgument, "filesystem \"{}\" must be mounted on ordinary directory",
                mount.type);
  return {};
}

/// `source_path`: of what a bind shows.
Result<UniqueFd> make_target(const oci::Mount& mount, const std::string& source_path, int rootfs) {
  if (mount.type == "proc" || mount.type == "sysfs") {
    KATA_CHECK(check_ordinary_directory(mount, rootfs));
    return sys::make_dir_in_root(rootfs, mount.destination, kDirectoryMode);
  }
  struct stat source = {};
  if (is_bind(mount) && ::stat(source_path.c_str(), &source) < 0)
    return fail_call(fmt::format("stat {}", mount.source));
  std::optional<UniqueFd> target;
  if (auto existing = sys::open_in_root(rootfs, mount.destination, O_PATH)) {
    target = std::move(*existing);
  } else if (is_bind(mount) && !S_ISDIR(source.st_mode)) {
    KATA_TRY(target, sys::make_file_in_root(rootfs, mount.destination, kFileMode));
  } else {
    KATA_TRY(target, sys::make_dir_in_root(rootfs, mount.destination, kDirectoryMode));
  }
  KATA_CHECK(check_proc_target(mount, source_path, rootfs, target->get()));
  return std::move(*target);
}

/// A container asks for "cgroup" and gets what its own cgroup namespace shows of the hierarchy.
Status mount_cgroup(sys::MountEntry entry, int target) {
  entry.type = "cgroup2";
  auto status = sys::mount_on(entry, target);
  if (status || status.error().code() != Code::kPermissionDenied) return status;
  entry.type = "bind";
  entry.source = kCgroupRoot;
  return sys::mount_on(entry, target);
}

/// The mode of the directory that a tmpfs hides is the mode of the tmpfs, whatever the options say.
Status mount_tmpfs(sys::MountEntry entry, int rootfs, int target, bool existed) {
  struct stat hidden;
  if (::fstat(target, &hidden) < 0) return fail_call(fmt::format("stat {}", entry.target));
  KATA_TRY(auto tmpfs, sys::make_mount(entry));
  if (existed && sys::parse_mount_options(entry.options).copy_up)
    KATA_CHECK(copy_directory(target, tmpfs.get(), entry.target));
  KATA_CHECK(sys::attach_mount(tmpfs.get(), target));
  if (!existed) return {};
  KATA_TRY(auto mounted, sys::open_in_root(rootfs, entry.target, O_RDONLY | O_DIRECTORY));
  if (::fchmod(mounted.get(), hidden.st_mode & 07777) < 0)
    return fail_call(fmt::format("chmod {}", entry.target));
  return {};
}

/// As runc: file systems whose labels are the kernel's own do not get one.
bool takes_label(const oci::Mount& mount) {
  constexpr auto kUnlabelled =
      std::to_array<std::string_view>({"proc", "sysfs", "mqueue", "cgroup"});
  return !is_bind(mount) && std::ranges::find(kUnlabelled, mount.type) == kUnlabelled.end();
}

Status mount_one(const oci::Mount& mount, const std::string& label, int rootfs,
                 const UniqueFd* prepared) {
  bool existed = sys::open_in_root(rootfs, mount.destination, O_PATH).has_value();
  // The source of one that is prepared may be out of reach.
  const auto source = prepared ? fmt::format("/proc/self/fd/{}", prepared->get()) : mount.source;
  KATA_TRY(auto target, make_target(mount, source, rootfs));
  if (prepared) return sys::attach_mount(prepared->get(), target.get());
  auto entry = entry_of(mount, label);
  if (is_bind(mount)) return sys::mount_on(entry, target.get());
  if (mount.type == "cgroup") return mount_cgroup(std::move(entry), target.get());
  if (mount.type == "tmpfs") return mount_tmpfs(entry, rootfs, target.get(), existed);
  return sys::mount_on(entry, target.get());
}

}  // namespace

bool is_bind(const oci::Mount& mount) {
  return mount.type == "bind" || mount.type == "rbind" ||
         std::ranges::any_of(mount.options, [](const std::string& option) {
           return option == "bind" || option == "rbind";
         });
}

sys::MountEntry entry_of(const oci::Mount& mount, const std::string& label) {
  sys::MountEntry entry{mount.type, mount.source, mount.destination, mount.options};
  if (sealed_later(mount)) std::erase(entry.options, "ro");
  if (!label.empty() && takes_label(mount)) entry.options.push_back("context=" + label);
  return entry;
}

Error in_mount_stage(const Error& error, const oci::Mount& mount) {
  return error.with_stage(
      fmt::format("error mounting \"{}\" to rootfs at \"{}\"", mount.source, mount.destination));
}

Status mount_all(const oci::Spec& spec, int rootfs, const PreparedMounts& prepared) {
  for (uint32_t i = 0; i < spec.mounts.size(); ++i) {
    auto ready = prepared.find(i);
    auto status = mount_one(spec.mounts[i], spec.linux.mount_label, rootfs,
                            ready == prepared.end() ? nullptr : &ready->second);
    if (!status) return std::unexpected(in_mount_stage(status.error(), spec.mounts[i]));
  }
  return {};
}

Status seal_mounts(const oci::Spec& spec) {
  UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail_call("open /");
  for (const auto& mount : spec.mounts) {
    if (!sealed_later(mount) || !is_read_only(mount)) continue;
    KATA_TRY(auto mounted, sys::open_in_root(root.get(), mount.destination, O_PATH));
    auto status = sys::set_mount_attributes(mounted.get(), MOUNT_ATTR_RDONLY, 0, false);
    if (!status)
      return std::unexpected(
          status.error().with_stage(fmt::format("remount {} read-only", mount.destination)));
  }
  return {};
}

}  // namespace kata::isolation
