#include "agent/isolation/user_namespace.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string_view>

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/sys/file.h"

namespace kata::isolation {

namespace {

// The kernel's limits (user_namespaces(7)).
constexpr size_t kMaxMappings = 340;
constexpr size_t kMaxMapBytes = 4095;

std::string as_text(const IdMappings& mappings) {
  std::string text;
  for (const auto& entry : mappings)
    text += fmt::format("{} {} {}\n", entry.container_id, entry.host_id, entry.size);
  return text;
}

/// `kind` as runc names it: "uid" and "user", "gid" and "group".
Status check_mappings(const IdMappings& mappings, std::string_view key, std::string_view kind,
                      std::string_view noun) {
  if (mappings.empty())
    return fail(Code::kInvalidArgument, "{}: user namespaces enabled, but no {} mappings found",
                key, kind);
  if (!host_id(mappings, 0))
    return fail(Code::kInvalidArgument, "{}: user namespaces enabled, but no {} mapping found", key,
                noun);
  if (mappings.size() > kMaxMappings || as_text(mappings).size() > kMaxMapBytes)
    return fail(Code::kInvalidArgument,
                "{}: {} mappings, the kernel takes {} that fit into {} bytes", key, mappings.size(),
                kMaxMappings, kMaxMapBytes);
  return {};
}

Status write_map(pid_t pid, std::string_view file, const IdMappings& mappings,
                 std::string_view key) {
  const auto path = fmt::format("/proc/{}/{}", pid, file);
  const auto text = as_text(mappings);
  UniqueFd map(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!map) return fail_call(fmt::format("open {}", path));
  // All in one: the kernel takes one write.
  if (::write(map.get(), text.data(), text.size()) >= 0) return {};
  if (errno != EINVAL) return fail_call(fmt::format("{}: write {}", key, file));
  return fail(
      Code::kInvalidArgument,
      "{}: the kernel does not take these mappings: invalid argument (is one empty, do they "
      "overlap, or end beyond the largest id?)",
      key);
}

bool take_number(std::string_view& text, uint32_t& number) {
  text.remove_prefix(std::min(text.find_first_not_of(" \n"), text.size()));
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

/// A process that does nothing until it is killed.
Result<pid_t> park_in_user_namespace(UniqueFd& pidfd) {
  int raw_pidfd = -1;
  clone_args args{};
  args.flags = CLONE_NEWUSER | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&raw_pidfd);
  args.exit_signal = SIGCHLD;
  long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) {
    // A copy of a process with threads: system calls only.
    while (true) ::pause();
  }
  if (pid < 0) return fail_call("clone a process with a user namespace");
  pidfd.reset(raw_pidfd);
  return static_cast<pid_t>(pid);
}

Result<UniqueFd> open_mapped(pid_t pid, const UserNamespace& wanted) {
  KATA_CHECK(write_id_mappings(pid, wanted));
  const auto path = fmt::format("/proc/{}/ns/user", pid);
  UniqueFd opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!opened) return fail_call(fmt::format("open {}", path));
  return opened;
}

}  // namespace

bool has_user_namespace(const oci::Spec& spec) {
  return std::ranges::any_of(spec.linux.namespaces, [](const oci::Namespace& entry) {
    return entry.type == oci::NamespaceType::kUser;
  });
}

Result<std::optional<UserNamespace>> plan_user_namespace(const oci::Spec& spec) {
  auto entry =
      std::ranges::find(spec.linux.namespaces, oci::NamespaceType::kUser, &oci::Namespace::type);
  if (entry == spec.linux.namespaces.end()) return std::nullopt;
  // Those of one that is joined have been made with it.
  if (!entry->path.empty()) return UserNamespace{entry->path, {}, {}};
  const auto& linux = spec.linux;
  KATA_CHECK(check_mappings(linux.uid_mappings, "linux.uidMappings", "uid", "user"));
  KATA_CHECK(check_mappings(linux.gid_mappings, "linux.gidMappings", "gid", "group"));
  return UserNamespace{"", linux.uid_mappings, linux.gid_mappings};
}

bool delegates_cgroup(const oci::Spec& spec) {
  const bool own = std::ranges::any_of(spec.linux.namespaces, [](const oci::Namespace& entry) {
    return entry.type == oci::NamespaceType::kCgroup && entry.path.empty();
  });
  return own && std::ranges::any_of(spec.mounts, [](const oci::Mount& mount) {
           return mount.destination == "/sys/fs/cgroup" && mount.type.starts_with("cgroup") &&
                  std::ranges::find(mount.options, "ro") == mount.options.end();
         });
}

Status write_id_mappings(pid_t pid, const UserNamespace& wanted) {
  KATA_CHECK(write_map(pid, "uid_map", wanted.uids, "uidMappings"));
  return write_map(pid, "gid_map", wanted.gids, "gidMappings");
}

Result<IdMappings> read_uid_mappings(pid_t pid) {
  // Written with wider columns than as_text() has.
  constexpr size_t kMaxBytes = 64 * 1024;
  KATA_TRY(auto content, sys::read_file(fmt::format("/proc/{}/uid_map", pid), kMaxBytes));
  IdMappings mappings;
  std::string_view text = content;
  oci::IdMapping entry;
  while (take_number(text, entry.container_id) && take_number(text, entry.host_id) &&
         take_number(text, entry.size))
    mappings.push_back(entry);
  return mappings;
}

std::optional<uid_t> host_id(const IdMappings& mappings, uid_t container_id) {
  for (const auto& entry : mappings)
    if (container_id >= entry.container_id && container_id - entry.container_id < entry.size)
      return entry.host_id + (container_id - entry.container_id);
  return std::nullopt;
}

Result<UniqueFd> make_user_namespace(const IdMappings& uids, const IdMappings& gids) {
  UniqueFd pidfd;
  KATA_TRY(pid_t pid, park_in_user_namespace(pidfd));
  auto opened = open_mapped(pid, {"", uids, gids});
  ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
  // ECHILD: whoever reaps all children of this process was first.
  siginfo_t ended{};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &ended, WEXITED) < 0 && errno == EINTR) {
  }
  return opened;
}

}  // namespace kata::isolation
