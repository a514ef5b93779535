#include "common/sys/mount.h"

#include <algorithm>
#include <array>
#include <optional>
#include <ranges>
#include <sstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/sys/file.h"
#include "common/sys/mount_data.h"
#include "common/sys/mountinfo.h"

namespace kata::sys {

namespace {

// fsconfig(2) refuses longer strings, with their NUL.
constexpr size_t kMaxFsconfigValueBytes = 255;
constexpr size_t kMaxFsLogBytes = 4096;

bool asks_for_bind(const MountEntry& entry, const MountOptions& options) {
  return options.bind || entry.type == "bind" || entry.type == "rbind";
}

/// What the file system said about the failure; each read(2) gives one line, "e message" for
/// errors.
std::string file_system_log(int context) {
  std::string out;
  std::array<char, kMaxFsLogBytes> line;
  ssize_t length;
  while ((length = ::read(context, line.data(), line.size())) > 0) {
    std::string_view text(line.data(), static_cast<size_t>(length));
    while (text.ends_with('\n')) text.remove_suffix(1);
    if (text.starts_with("e ")) out += fmt::format(" ({})", text.substr(2));
  }
  return out;
}

std::unexpected<Error> fail_context(int context, std::string_view what) {
  int error_number = errno;
  auto error = errno_error(what, error_number);
  return std::unexpected(Error(error.code(), error.message() + file_system_log(context)));
}

Status configure(int context, const std::string& option) {
  auto equals = option.find('=');
  std::string key = option.substr(0, equals);
  int result =
      equals == std::string::npos
          ? ::fsconfig(context, FSCONFIG_SET_FLAG, key.c_str(), nullptr, 0)
          : ::fsconfig(context, FSCONFIG_SET_STRING, key.c_str(), option.c_str() + equals + 1, 0);
  if (result < 0) return fail_context(context, fmt::format("option {}", option));
  return {};
}

Result<UniqueFd> detached_file_system(const MountEntry& entry, const MountOptions& options) {
  UniqueFd context(::fsopen(entry.type.c_str(), FSOPEN_CLOEXEC));
  if (!context) return fail_errno(fmt::format("file system type \"{}\"", entry.type));
  if (!entry.source.empty()) KATA_CHECK(configure(context.get(), "source=" + entry.source));
  if ((options.attr_set & MOUNT_ATTR_RDONLY) != 0) KATA_CHECK(configure(context.get(), "ro"));
  for (const auto& word : options.superblock) KATA_CHECK(configure(context.get(), word));
  for (const auto& word : options.data) KATA_CHECK(configure(context.get(), word));
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0)
    return fail_context(context.get(), "create");
  UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, options.attr_set));
  if (!mount) return fail_context(context.get(), "fsmount");
  return mount;
}

Result<UniqueFd> detached_bind(const MountEntry& entry, const MountOptions& options) {
  UniqueFd source(::open(entry.source.c_str(), O_PATH | O_CLOEXEC));
  if (!source) return fail_errno(fmt::format("stat {}", entry.source));
  bool recursive = options.bind_recursive || entry.type == "rbind";
  KATA_TRY(auto mount, clone_mount(source.get(), recursive));
  KATA_CHECK(set_mount_attributes(mount.get(), options.attr_set, options.attr_clear, false));
  return mount;
}

Status apply_tree_options(int mount, const MountOptions& options) {
  KATA_CHECK(
      set_mount_attributes(mount, options.recursive_attr_set, options.recursive_attr_clear, true));
  for (const auto& propagation : options.propagation)
    KATA_CHECK(set_propagation(mount, propagation));
  return {};
}

bool fits_fsconfig(const MountEntry& entry, const MountOptions& options) {
  auto value_fits = [](const std::string& option) {
    auto equals = option.find('=');
    return equals == std::string::npos || option.size() - equals - 1 <= kMaxFsconfigValueBytes;
  };
  return entry.source.size() <= kMaxFsconfigValueBytes &&
         std::ranges::all_of(options.data, value_fits);
}

/// With mount(2), for options that the newer calls cannot take.
Status mount_long_data(const MountEntry& entry, const MountOptions& options, int target) {
  if (options.recursive_attr_set != 0 || options.recursive_attr_clear != 0 ||
      !options.propagation.empty())
    return fail(Code::kUnimplemented,
                "propagation and recursive flags beside options of more than {} bytes",
                kMaxFsconfigValueBytes);
  KATA_TRY(auto data, MountData::make(entry.type, options.data));
  auto path = fmt::format("/proc/self/fd/{}", target);
  if (::mount(entry.source.c_str(), path.c_str(), entry.type.c_str(),
              mount_flags(options.attr_set, options.superblock), data.text().c_str()) < 0)
    return fail_errno("mount");
  return {};
}

Status check_supported(const MountOptions& options) {
  if (options.unsupported.empty()) return {};
  return fail(Code::kUnimplemented, "option \"{}\" is not supported", options.unsupported);
}

Result<UniqueFd> try_make_mount(const MountEntry& entry, const MountOptions& options,
                                std::optional<MountOptions::Propagation> inherited) {
  std::optional<UniqueFd> mount;
  if (asks_for_bind(entry, options)) {
    KATA_TRY(mount, detached_bind(entry, options));
  } else if (!fits_fsconfig(entry, options)) {
    return fail(Code::kUnimplemented, "options of more than {} bytes", kMaxFsconfigValueBytes);
  } else {
    KATA_TRY(mount, detached_file_system(entry, options));
  }
  if (inherited) KATA_CHECK(set_propagation(mount->get(), *inherited));
  KATA_CHECK(apply_tree_options(mount->get(), options));
  return std::move(*mount);
}

Status try_mount_on(const MountEntry& entry, int target) {
  auto options = parse_mount_options(entry.options);
  KATA_CHECK(check_supported(options));
  if (options.copy_up || options.id_mapped)
    return fail(Code::kUnimplemented, "option \"{}\" is not supported here",
                options.copy_up ? "tmpcopyup" : "idmap");
  if (!asks_for_bind(entry, options) && !fits_fsconfig(entry, options))
    return mount_long_data(entry, options, target);
  KATA_TRY(auto mount, try_make_mount(entry, options, {}));
  return attach_mount(mount.get(), target);
}

Error in_stage_of(const Error& error, const MountEntry& entry) {
  return error.with_stage(fmt::format("mount {} {} on {}", entry.type, entry.source, entry.target));
}

/// By the device, since a detached mount is in no list.
std::string file_system_of(int fd) {
  struct stat info {};
  struct statfs system {};
  if (::fstat(fd, &info) < 0 || ::fstatfs(fd, &system) < 0) return "an unknown file system";
  const auto unnamed = fmt::format("the file system of type {:#x}", system.f_type);
  const auto mounts = read_mounts();
  if (!mounts) return unnamed;
  const auto device = fmt::format("{}:{}", major(info.st_dev), minor(info.st_dev));
  const auto found = std::ranges::find(*mounts, device, &MountInfo::device);
  return found == mounts->end() ? unnamed : found->type;
}

}  // namespace

Status mount_on(const MountEntry& entry, int target) {
  auto status = try_mount_on(entry, target);
  if (!status) return std::unexpected(in_stage_of(status.error(), entry));
  return {};
}

Result<UniqueFd> make_mount(const MountEntry& entry,
                            std::optional<MountOptions::Propagation> inherited) {
  auto options = parse_mount_options(entry.options);
  auto supported = check_supported(options);
  if (!supported) return std::unexpected(in_stage_of(supported.error(), entry));
  auto mount = try_make_mount(entry, options, inherited);
  if (!mount) return std::unexpected(in_stage_of(mount.error(), entry));
  return mount;
}

Status mount(const MountEntry& entry) {
  UniqueFd target(::open(entry.target.c_str(), O_PATH | O_CLOEXEC));
  if (!target) return fail_errno(fmt::format("mount target {}", entry.target));
  return mount_on(entry, target.get());
}

Status mount_all(std::span<const MountEntry> entries) {
  CleanupStack cleanup;
  for (const auto& entry : entries) {
    KATA_CHECK(mount(entry));
    // A failure to undo must not hide the failure that is being reported.
    cleanup.add([&entry] { (void)unmount(entry.target, true); });
  }
  cleanup.release();
  return {};
}

Result<UniqueFd> clone_mount(int source, bool recursive) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
  UniqueFd mount(::open_tree(source, "", recursive ? flags | AT_RECURSIVE : flags));
  if (!mount) return fail_errno("open_tree");
  return mount;
}

Status attach_mount(int mount, int target) {
  struct stat mount_info {};
  struct stat target_info {};
  if (::fstat(mount, &mount_info) < 0 || ::fstat(target, &target_info) < 0)
    return fail_errno("stat a mount");
  if (S_ISDIR(mount_info.st_mode) != S_ISDIR(target_info.st_mode))
    return fail(Code::kInvalidArgument,
                "not a directory: is a directory to be mounted on a file, or the other way round?");
  if (::move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
    return fail_errno("move_mount");
  return {};
}

Status set_mount_attributes(int fd, uint64_t set, uint64_t clear, bool recursive) {
  if (set == 0 && clear == 0) return {};
  mount_attr attr = {};
  attr.attr_set = set;
  attr.attr_clr = clear;
  if (::mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr, sizeof attr) <
      0)
    return fail_errno("mount_setattr");
  return {};
}

Status set_propagation(int fd, MountOptions::Propagation propagation) {
  mount_attr attr = {};
  attr.propagation = propagation.type;
  if (::mount_setattr(fd, "", AT_EMPTY_PATH | (propagation.recursive ? AT_RECURSIVE : 0), &attr,
                      sizeof attr) < 0)
    return fail_errno("mount propagation");
  return {};
}

Status map_ids(int fd, int user_namespace, bool recursive, std::string_view type) {
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<uint64_t>(user_namespace);
  if (::mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr, sizeof attr) ==
      0)
    return {};
  if (errno != EINVAL) return fail_errno("map the ids of a mount");
  utsname kernel{};
  ::uname(&kernel);
  return fail(
      Code::kUnimplemented,
      "idmapped mounts of {} are not supported by the guest's kernel ({}): use a volume on a "
      "block device, or give its files the ids that the container is to see",
      type.empty() ? file_system_of(fd) : std::string(type), kernel.release);
}

Status unmount(const std::filesystem::path& target, bool detach) {
  if (::umount2(target.c_str(), UMOUNT_NOFOLLOW | (detach ? MNT_DETACH : 0)) < 0) {
    // The kernel's word for "no mount point".
    int error_number = errno == EINVAL ? ENOENT : errno;
    return fail_errno(fmt::format("unmount {}", target.string()), error_number);
  }
  return {};
}

Status unmount_all_at(const std::filesystem::path& target, bool detach) {
  for (;;) {
    auto status = unmount(target, detach);
    if (!status && status.error().code() == Code::kNotFound) return {};
    KATA_CHECK(status);
  }
}

Status detach_all_below(const std::filesystem::path& directory) {
  KATA_TRY(const auto mounts, read_mounts());
  // Later ones may lie in earlier ones.
  for (const MountInfo& mount : mounts | std::views::reverse)
    if (mount.mount_point != directory.native() &&
        is_at_or_below(mount.mount_point, directory.native()))
      KATA_CHECK(unmount(mount.mount_point, true));
  return {};
}

}  // namespace kata::sys
