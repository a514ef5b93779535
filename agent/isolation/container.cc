#include "agent/isolation/container.h"

#include <algorithm>
#include <array>
#include <climits>
#include <optional>

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "agent/isolation/capabilities.h"
#include "agent/isolation/devices.h"
#include "agent/isolation/executable.h"
#include "agent/isolation/hidden_paths.h"
#include "agent/isolation/keyring.h"
#include "agent/isolation/limits.h"
#include "agent/isolation/mounts.h"
#include "agent/isolation/names.h"
#include "agent/isolation/namespaces.h"
#include "agent/isolation/rootfs.h"
#include "agent/isolation/scheduling.h"
#include "agent/isolation/seccomp.h"
#include "agent/isolation/sysctl.h"
#include "agent/isolation/terminal.h"
#include "agent/isolation/user.h"
#include "common/sys/scoped_path.h"

namespace kata::isolation {

namespace {

constexpr mode_t kDefaultUmask = 0022;
constexpr int kFirstOtherDescriptor = 3;

Status require_mount_namespace(const oci::Spec& spec) {
  bool own = std::ranges::any_of(spec.linux.namespaces, [](const oci::Namespace& entry) {
    return entry.type == oci::NamespaceType::kMount;
  });
  if (own) return {};
  return fail(Code::kInvalidArgument,
              "linux.namespaces: a mount namespace is needed, the guest's own is not to be shared");
}

/// As runc: what is missing of the working directory is made, owned by root.
Status make_cwd(const std::string& cwd) {
  UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail_call("open /");
  struct stat info;
  // Whoever may not look may still be sent there.
  if (::stat(cwd.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
  auto made = sys::make_dir_in_root(root.get(), cwd);
  if (!made && made.error().code() == Code::kInvalidArgument)
    return fail_call(fmt::format("mkdir {}", cwd), ENOTDIR);
  if (!made) return std::unexpected(made.error().with_stage("process.cwd"));
  return {};
}

/// True if it worked; false where only the container's user may be allowed to.
Result<bool> try_chdir(const std::string& cwd) {
  if (::chdir(cwd.c_str()) == 0) return true;
  if (errno == EACCES || errno == EPERM) return false;
  return fail_call(fmt::format("chdir to cwd (\"{}\") set in config.json failed", cwd));
}

/// A cwd through a leaked descriptor (/proc/self/fd/7) could lie outside of the container's root.
Status verify_cwd() {
  std::array<char, PATH_MAX> buffer;
  if (::getcwd(buffer.data(), buffer.size()) && buffer[0] == '/') return {};
  return fail(Code::kPermissionDenied,
              "current working directory is outside of container mount namespace root");
}

void add_once(std::vector<std::string>& words, const std::string& word) {
  if (std::ranges::find(words, word) == words.end()) words.push_back(word);
}

Status take_identity(const oci::Process& process, bool keeps_sys_admin) {
  auto capabilities = process.capabilities.value_or(oci::Capabilities{});
  KATA_TRY(bool there, try_chdir(process.cwd));
  KATA_CHECK(drop_bounding(capabilities));
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return fail_call("unable to set keep caps");
  if (auto status = become_user(process.user); !status)
    return std::unexpected(status.error().with_stage("unable to setup user"));
  if (!there && ::chdir(process.cwd.c_str()) < 0)
    return fail_call(fmt::format("chdir to cwd (\"{}\") set in config.json failed", process.cwd));
  KATA_CHECK(verify_cwd());
  if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0) return fail_call("unable to clear keep caps");
  if (keeps_sys_admin) {
    // Not in the bounding set, unless the spec says so: execve takes it away.
    add_once(capabilities.permitted, "CAP_SYS_ADMIN");
    add_once(capabilities.effective, "CAP_SYS_ADMIN");
  }
  return apply_capabilities(capabilities);
}

Result<UniqueFd> take_root(const oci::Spec& spec, const std::string& rootfs,
                           PreparedMounts& prepared) {
  auto root = prepared.find(kRootMount);
  if (root == prepared.end()) return take_rootfs(spec, rootfs);
  KATA_CHECK(take_prepared_rootfs(spec, root->second.get()));
  return std::move(root->second);
}

}  // namespace

Result<UniqueFd> prepare_container(const oci::Spec& spec, const std::string& rootfs,
                                   const ContainerInfo& info, PreparedMounts prepared) {
  KATA_CHECK(require_mount_namespace(spec));
  ::umask(kDefaultUmask);
  KATA_CHECK(join_session_keyring(info.id));
  KATA_CHECK(set_names(spec));
  KATA_CHECK(apply_sysctls(spec));
  KATA_CHECK(set_oom_score_adj(spec.process));
  KATA_TRY(auto root, take_root(spec, rootfs, prepared));
  KATA_CHECK(mount_all(spec, root.get(), prepared));
  KATA_CHECK(make_devices(spec, root.get()));
  KATA_CHECK(run_create_hooks(spec, info, root.get()));
  KATA_CHECK(pivot_into(root.get()));
  KATA_CHECK(reopen_null_stdio(spec));
  UniqueFd terminal;
  if (spec.process.terminal) {
    KATA_TRY(terminal, take_terminal(spec.process));
    KATA_CHECK(mount_console());
  }
  KATA_CHECK(make_cwd(spec.process.cwd));
  KATA_CHECK(seal_mounts(spec));
  KATA_CHECK(finish_root(spec));
  KATA_CHECK(hide_paths(spec));
  return terminal;
}

Result<UniqueFd> join_container(const oci::Process& process, int init_pidfd,
                                const std::string& container_id, int namespaces) {
  // By the guest's own /proc: the container's may be anything.
  KATA_CHECK(set_oom_score_adj(process));
  KATA_CHECK(set_initial_affinity(process));
  KATA_CHECK(join_namespaces_of(init_pidfd, namespaces));
  // Names of keyrings are a user namespace's own.
  KATA_CHECK(join_session_keyring(container_id));
  KATA_CHECK(set_final_affinity(process));
  if (!process.terminal) return UniqueFd();
  return take_terminal(process);
}

Result<ExecTarget> become_process(const oci::Process& process, Inheritance container) {
  auto& filter = container.filter;
  ::umask(process.user.umask.value_or(kDefaultUmask));
  auto home = home_of(process.user.uid);
  // As the agent's own user still, whose privileges they need.
  KATA_CHECK(set_scheduling(process));
  if (container.personality) KATA_CHECK(set_personality(*container.personality));
  KATA_CHECK(set_rlimits(process.rlimits));
  if (process.no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
    return fail_call("prctl(SET_NO_NEW_PRIVS)");
  KATA_CHECK(take_identity(process, !filter.empty() && !process.no_new_privileges));
  ExecTarget target{"", process.args, complete_env(process.env, home), std::move(filter), {}};
  KATA_TRY(target.path, find_executable(process.args.front(), process.env));
  return target;
}

void reset_signals() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) ::sigaction(number, &action, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

std::vector<char*> as_pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (const auto& text : strings) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

Error exec_process(const ExecTarget& target) {
  auto args = as_pointers(target.args);
  auto env = as_pointers(target.env);
  reset_signals();
  if (::close_range(kFirstOtherDescriptor, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
    return fail_call("mark descriptors close-on-exec").error();
  if (auto labelled = target.label.apply(); !labelled) return labelled.error();
  if (!target.filter.empty()) {
    if (auto installed = install_filter(target.filter); !installed) return installed.error();
  }
  ::execve(target.path.c_str(), args.data(), env.data());
  return fail_call(fmt::format("exec {}", target.path)).error();
}

}  // namespace kata::isolation
