#include "runtime/sandbox/host_cgroup.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/ranges.h>
#include <poll.h>
#include <unistd.h>

#include "common/log/log.h"
#include "common/sys/file.h"
#include "common/sys/mountinfo.h"
#include "common/sys/pidfd.h"

namespace kata::sandbox {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr size_t kMaxFileBytes = 64 * 1024;
/// What a group of v1's cpuset must have before anybody can be in it.
constexpr std::array kCpusetFiles = {"cpuset.cpus", "cpuset.mems"};

struct Hierarchy {
  std::string device;  // of its superblock
  fs::path root;       // where it is mounted
  fs::path current;    // this process's group
};

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in{std::string(text)};
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

/// The path of this process in a hierarchy, by its controllers ("" is v2's), as proc(5) shows it.
std::optional<std::string> own_group(const std::vector<std::string>& options, bool v2) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const auto wanted = split(controllers, ',');
    const bool here = v2 ? controllers.empty()
                         : !wanted.empty() && std::ranges::all_of(wanted, [&](const auto& name) {
                             return std::ranges::find(options, name) != options.end();
                           });
    if (here) return line.substr(second + 1);
  }
  return std::nullopt;
}

Result<std::vector<Hierarchy>> find_hierarchies() {
  std::vector<Hierarchy> found;
  KATA_TRY(const auto mounts, sys::read_mounts());
  for (const sys::MountInfo& mount : mounts) {
    const bool v2 = mount.type == "cgroup2";
    if (!v2 && mount.type != "cgroup") continue;
    const auto own = own_group(split(mount.super_options, ','), v2);
    if (!own) continue;
    // A mount of a part of the hierarchy, as containers have it, shows groups from there on.
    const fs::path relative = fs::path(*own).lexically_relative(mount.root);
    if (relative.empty() || *relative.begin() == "..") continue;
    // Mounted a second time, to read only, or below something else.
    const fs::path root = mount.mount_point;
    const bool known = std::ranges::any_of(
        found, [&](const Hierarchy& hierarchy) { return hierarchy.device == mount.device; });
    const auto mount_options = split(mount.options, ',');
    const bool read_only = std::ranges::find(mount_options, "ro") != mount_options.end();
    const fs::path current = (root / relative).lexically_normal();
    std::error_code error;
    if (!known && !read_only && fs::exists(current / "cgroup.procs", error))
      found.push_back({mount.device, root, current});
  }
  return found;
}

Status join(const fs::path& directory) {
  return sys::write_existing(directory / "cgroup.procs", std::to_string(getpid()));
}

/// Children of a group of v1's cpuset begin with nothing.
Status take_over_cpuset(const fs::path& parent, const fs::path& child) {
  for (const char* name : kCpusetFiles) {
    const auto own = sys::read_file(child / name, kMaxFileBytes);
    if (!own) return {};  // another controller's, or v2, where nothing means the parent's
    if (own->find_first_not_of(" \n") != std::string::npos) continue;
    KATA_TRY(const std::string inherited, sys::read_file(parent / name, kMaxFileBytes));
    if (inherited.find_first_not_of(" \n") != std::string::npos)
      KATA_CHECK(sys::write_existing(child / name, inherited));
  }
  return {};
}

/// So that v2 counts what is below. Not every controller can be passed on everywhere: threaded
/// groups, groups with processes.
void pass_controllers_on(const fs::path& directory) {
  const auto controllers = sys::read_file(directory / "cgroup.controllers", kMaxFileBytes);
  if (!controllers) return;
  std::istringstream names(*controllers);
  for (std::string name; names >> name;)
    (void)sys::write_existing(directory / "cgroup.subtree_control", "+" + name);
}

Status make_group(const fs::path& root, const fs::path& directory) {
  fs::path parent = root;
  for (const fs::path& name : directory.lexically_relative(root)) {
    pass_controllers_on(parent);
    const fs::path child = parent / name;
    std::error_code error;
    fs::create_directory(child, error);
    if (error) return fail_errno(fmt::format("make {}", child.native()), error.value());
    // The cpuset of v2 knows "like the parent".
    if (!fs::exists(child / "cgroup.controllers", error))
      KATA_CHECK(take_over_cpuset(parent, child));
    parent = child;
  }
  return {};
}

std::vector<std::string> members(const fs::path& directory) {
  return split(sys::read_file(directory / "cgroup.procs", kMaxFileBytes).value_or(""), '\n');
}

Status remove_group(const fs::path& directory) {
  if (rmdir(directory.c_str()) == 0 || errno == ENOENT) return {};
  if (errno != EBUSY) return fail_errno(fmt::format("remove {}", directory.native()));
  return fail(Code::kFailedPrecondition, "control group {} is not empty: processes {}",
              directory.native(), fmt::join(members(directory), " "));
}

/// Of a server that was killed, a child may need some moments more.
void await_members(const fs::path& directory, Clock::time_point deadline) {
  for (const std::string& member : members(directory)) {
    const auto pid = static_cast<pid_t>(std::atol(member.c_str()));
    const auto process = sys::open_pidfd(pid);
    if (!process || pid == getpid()) continue;
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd end{.fd = process->get(), .events = POLLIN, .revents = 0};
    poll(&end, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
  }
}

Result<fs::path> slice_path(std::string_view slice) {
  constexpr std::string_view kSuffix = ".slice";
  if (!slice.ends_with(kSuffix) || slice.find('/') != std::string_view::npos)
    return fail(Code::kInvalidArgument, "cgroupsPath: \"{}\" is no slice of systemd", slice);
  const std::string_view name = slice.substr(0, slice.size() - kSuffix.size());
  if (name == "-") return fs::path();
  fs::path path;
  std::string prefix;
  for (const std::string& part : split(name, '-')) {
    if (part.empty())
      return fail(Code::kInvalidArgument, "cgroupsPath: \"{}\" is no slice of systemd", slice);
    prefix += (prefix.empty() ? "" : "-") + part;
    path /= prefix + std::string(kSuffix);
  }
  return path;
}

}  // namespace

Result<fs::path> group_of(std::string_view cgroups_path) {
  const auto parts = split(cgroups_path, ':');
  const bool is_systemds = parts.size() == 3 && cgroups_path.find('/') == std::string_view::npos;
  if (is_systemds) {
    KATA_TRY(const fs::path slice, slice_path(parts[0].empty() ? "system.slice" : parts[0]));
    return slice / fmt::format("{}-{}.scope", parts[1], parts[2]);
  }
  const fs::path group = fs::path(cgroups_path).relative_path().lexically_normal();
  const bool leads_out = std::ranges::find(group, "..") != group.end();
  if (group.empty() || group == "." || leads_out)
    return fail(Code::kInvalidArgument, "cgroupsPath: \"{}\" names no group below the root",
                cgroups_path);
  return group.has_filename() ? group : group.parent_path();
}

Result<HostCgroup> HostCgroup::plan(std::string_view cgroups_path) {
  KATA_TRY(const fs::path group, group_of(cgroups_path));
  KATA_TRY(const std::vector<Hierarchy> hierarchies, find_hierarchies());
  HostCgroup planned;
  for (const Hierarchy& hierarchy : hierarchies)
    planned.groups_.push_back({hierarchy.root, hierarchy.current, hierarchy.root / group});
  return planned;
}

std::vector<fs::path> HostCgroup::directories() const {
  std::vector<fs::path> directories;
  for (const Group& group : groups_) directories.push_back(group.directory);
  return directories;
}

Status HostCgroup::enter() {
  entered_ = true;
  auto entered = [this]() -> Status {
    for (Group& group : groups_) {
      std::error_code error;
      // One that is there is somebody else's, who shares it.
      group.made = !fs::exists(group.directory, error);
      KATA_CHECK(make_group(group.root, group.directory));
      KATA_CHECK(join(group.directory));
    }
    return {};
  }();
  if (entered) return {};
  if (Status left = leave(); !left)
    log::error("leave the pod's control groups", {{"error", left.error().message()}});
  return std::unexpected(entered.error().with_stage(
      "the pod's control group (sandbox_cgroup_only = false in [runtime] does without)"));
}

Status HostCgroup::leave(std::chrono::milliseconds limit) {
  if (!std::exchange(entered_, false)) return {};
  std::vector<fs::path> made;
  for (Group& group : groups_) {
    // It may have gone meanwhile, with the session that containerd was started in.
    fs::path directory = group.before;
    while (!join(directory) && directory != group.root) directory = directory.parent_path();
    if (std::exchange(group.made, false)) made.push_back(group.directory);
  }
  return remove_groups(made, limit);
}

Status remove_groups(const std::vector<fs::path>& directories, std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  Status first_failure;
  for (const fs::path& directory : directories) {
    Status removed = remove_group(directory);
    if (!removed) {
      await_members(directory, deadline);
      removed = remove_group(directory);
    }
    if (!removed && first_failure) first_failure = removed;
  }
  return first_failure;
}

}  // namespace kata::sandbox
