#include "agent/isolation/cgroup.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <sstream>

#include <fcntl.h>
#include <fmt/ranges.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent/isolation/cgroup_file.h"
#include "agent/isolation/cgroup_resources.h"
#include "common/base/cleanup.h"
#include "common/sys/file.h"

namespace kata::isolation {

namespace {

namespace fs = std::filesystem;

constexpr const char* kPodGroup = "kata";

Result<UniqueFd> open_group(const fs::path& path) {
  UniqueFd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return fail_errno(fmt::format("cgroup {}", path.string()));
  return dir;
}

Status make_group(const fs::path& path, bool may_exist) {
  if (::mkdir(path.c_str(), 0755) == 0 || (may_exist && errno == EEXIST)) return {};
  return fail_errno(fmt::format("make cgroup {}", path.string()));
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

/// Every controller that the group has, for the groups below it. What they have already is not
/// written again: the kernel would walk the whole tree for it.
Status enable_controllers(const fs::path& group) {
  constexpr const char* kFile = "cgroup.subtree_control";
  KATA_TRY(auto dir, open_group(group));
  KATA_TRY(auto available, read_cgroup_file(dir.get(), "cgroup.controllers"));
  KATA_TRY(auto enabled, read_cgroup_file(dir.get(), kFile));
  auto missing = words(available);
  for (const auto& name : words(enabled)) std::erase(missing, name);
  if (missing.empty()) return {};
  if (write_cgroup_file(dir.get(), kFile, fmt::format("+{}", fmt::join(missing, " +")))) return {};
  // One that cannot be enabled now (cpu beside real-time processes) must not keep the others from
  // it. apply() names the one that a limit misses.
  for (const auto& name : missing) (void)write_cgroup_file(dir.get(), kFile, "+" + name);
  return {};
}

std::chrono::steady_clock::time_point deadline_after(std::chrono::milliseconds timeout) {
  return std::chrono::steady_clock::now() + timeout;
}

/// Names of the groups directly below.
std::vector<std::string> children_of(int group) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(fmt::format("/proc/self/fd/{}", group), ignored))
    if (entry.is_directory(ignored)) names.push_back(entry.path().filename());
  return names;
}

/// Bottom-up without recursion: how deep the tree is, the container decides.
Status remove_children(int top) {
  UniqueFd current(::fcntl(top, F_DUPFD_CLOEXEC, 0));
  std::vector<std::string> way;
  for (;;) {
    auto children = children_of(current.get());
    if (!children.empty()) {
      UniqueFd child(
          ::openat(current.get(), children.front().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!child) return fail_errno(fmt::format("cgroup {}", children.front()));
      way.push_back(children.front());
      current = std::move(child);
      continue;
    }
    if (way.empty()) return {};
    UniqueFd parent(::openat(current.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent) return fail_errno("parent cgroup");
    if (::unlinkat(parent.get(), way.back().c_str(), AT_REMOVEDIR) < 0 && errno != ENOENT)
      return fail_errno(fmt::format("remove cgroup {}", way.back()));
    way.pop_back();
    current = std::move(parent);
  }
}

Status append_pids(const fs::path& group, std::vector<pid_t>& out) {
  auto dir = open_group(group);
  // Removed meanwhile: it had none.
  if (!dir && dir.error().code() == Code::kNotFound) return {};
  if (!dir) return std::unexpected(dir.error());
  auto text = read_cgroup_file(dir->get(), "cgroup.procs");
  if (!text && text.error().code() == Code::kNotFound) return {};
  if (!text) return std::unexpected(text.error());
  const char* at = text->data();
  const char* end = at + text->size();
  while (at < end) {
    pid_t pid = 0;
    auto [next, error] = std::from_chars(at, end, pid);
    // 0 is a process of another pid namespace.
    if (error == std::errc() && pid > 0) out.push_back(pid);
    at = std::find(next, end, '\n') + 1;
  }
  return {};
}

}  // namespace

Result<Cgroup> Cgroup::pod(const fs::path& root) {
  struct statfs info;
  if (::statfs(root.c_str(), &info) < 0) return fail_errno(fmt::format("cgroup {}", root.string()));
  if (info.f_type != CGROUP2_SUPER_MAGIC)
    return fail(Code::kFailedPrecondition, "{} is not a cgroup2 file system", root.string());
  auto path = root / kPodGroup;
  KATA_CHECK(make_group(path, true));
  KATA_CHECK(enable_controllers(root));
  KATA_TRY(auto dir, open_group(path));
  return Cgroup(std::move(path), std::move(dir));
}

Result<Cgroup> Cgroup::create(const std::string& id, const fs::path& root) {
  KATA_TRY(Cgroup pod, Cgroup::pod(root));
  KATA_CHECK(enable_controllers(pod.path()));
  auto path = pod.path() / id;
  KATA_CHECK(make_group(path, false));
  CleanupStack cleanup;
  cleanup.add([&path] { ::rmdir(path.c_str()); });
  KATA_TRY(auto dir, open_group(path));
  cleanup.release();
  return Cgroup(std::move(path), std::move(dir));
}

Status Cgroup::apply(const oci::Resources& resources) {
  return apply_resources(dir_.get(), resources);
}

Status Cgroup::add(pid_t pid) {
  return write_cgroup_file(dir_.get(), "cgroup.procs", fmt::to_string(pid));
}

Result<std::vector<pid_t>> Cgroup::pids() const {
  std::vector<pid_t> out;
  KATA_CHECK(append_pids(path_, out));
  std::error_code error;
  for (fs::recursive_directory_iterator at(path_, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code ignored;
    if (at->is_directory(ignored)) KATA_CHECK(append_pids(at->path(), out));
  }
  // Whatever vanishes under the iterator had no process any more.
  if (error && error != std::errc::no_such_file_or_directory)
    return fail_errno(fmt::format("list cgroup {}", path_.string()), error.value());
  std::ranges::sort(out);
  return out;
}

Result<bool> Cgroup::populated() const {
  KATA_TRY(auto value, read_cgroup_key(dir_.get(), "cgroup.events", "populated"));
  return value != 0;
}

Status Cgroup::freeze(std::chrono::milliseconds timeout) {
  KATA_CHECK(write_cgroup_file(dir_.get(), "cgroup.freeze", "1"));
  return wait_cgroup_event(dir_.get(), "frozen", 1, deadline_after(timeout));
}

Status Cgroup::thaw(std::chrono::milliseconds timeout) {
  KATA_CHECK(write_cgroup_file(dir_.get(), "cgroup.freeze", "0"));
  return wait_cgroup_event(dir_.get(), "frozen", 0, deadline_after(timeout));
}

Result<bool> Cgroup::frozen() const {
  KATA_TRY(auto wanted, read_cgroup_file(dir_.get(), "cgroup.freeze"));
  return wanted.starts_with('1');
}

Status Cgroup::give_to(uid_t uid) const {
  // What the kernel does not name, such as the limits, stays root's.
  constexpr const char* kDelegated = "/sys/kernel/cgroup/delegate";
  constexpr size_t kMaxDelegatedBytes = 4096;
  KATA_TRY(auto names, sys::read_file(kDelegated, kMaxDelegatedBytes));
  constexpr auto kSameGroup = static_cast<gid_t>(-1);
  if (::fchown(dir_.get(), uid, kSameGroup) < 0)
    return fail_errno(fmt::format("chown cgroup {}", path_.string()));
  for (size_t start = 0; start < names.size();) {
    const auto end = std::min(names.find('\n', start), names.size());
    const auto name = names.substr(start, end - start);
    // Some belong to controllers that are not enabled.
    if (::fchownat(dir_.get(), name.c_str(), uid, kSameGroup, 0) < 0 && errno != ENOENT)
      return fail_errno(fmt::format("chown {} of cgroup {}", name, path_.string()));
    start = end + 1;
  }
  return {};
}

Status Cgroup::kill() { return write_cgroup_file(dir_.get(), "cgroup.kill", "1"); }

Status Cgroup::remove(std::chrono::milliseconds timeout) {
  auto waited = wait_cgroup_event(dir_.get(), "populated", 0, deadline_after(timeout));
  // A removed group has no events file.
  if (!waited && waited.error().code() != Code::kNotFound) return waited;
  if (::rmdir(path_.c_str()) == 0 || errno == ENOENT) return {};
  // Most containers make no groups of their own: only now the tree is looked at.
  KATA_CHECK(remove_children(dir_.get()));
  if (::rmdir(path_.c_str()) < 0 && errno != ENOENT)
    return fail_errno(fmt::format("remove cgroup {}", path_.string()));
  return {};
}

Result<std::string> Cgroup::read(const char* file) const {
  return read_cgroup_file(dir_.get(), file);
}

Result<uint64_t> Cgroup::oom_kills() const {
  auto value = read_cgroup_key(dir_.get(), "memory.events", "oom_kill");
  if (!value && value.error().code() == Code::kNotFound) return 0;
  return value;
}

uint64_t Cgroup::oom_events() const {
  return read_cgroup_key(dir_.get(), "memory.events", "oom").value_or(0);
}

}  // namespace kata::isolation
