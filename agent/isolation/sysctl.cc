#include "agent/isolation/sysctl.h"

#include <algorithm>
#include <array>
#include <string>

#include <fcntl.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/base/unique_fd.h"
#include "common/sys/scoped_path.h"

namespace kata::isolation {

namespace {

constexpr std::array<std::string_view, 8> kIpc = {
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
    "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"};

bool has_namespace(const oci::Spec& spec, oci::NamespaceType type) {
  return std::ranges::any_of(spec.linux.namespaces,
                             [type](const oci::Namespace& entry) { return entry.type == type; });
}

/// sysctl(8) takes both separators; whichever comes first is the one, the other is part of a name
/// ("net/ipv4/conf/eth0.100/rp_filter").
std::string with_dots(std::string key) {
  auto first = key.find_first_of("./");
  if (first == std::string::npos || key[first] == '.') return key;
  for (char& c : key) c = c == '.' ? '/' : c == '/' ? '.' : c;
  return key;
}

std::string as_path(std::string dotted) {
  for (char& c : dotted) c = c == '.' ? '/' : c == '/' ? '.' : c;
  return dotted;
}

bool covers_proc_sys(const std::vector<std::string>& paths) {
  return std::ranges::any_of(paths, [](const std::string& path) {
    return path == "/" || path == "/proc" || path == "/proc/" || path == "/proc/sys" ||
           path.starts_with("/proc/sys/");
  });
}

/// A container that may write /proc/sys itself (Kubernetes: privileged) gets nothing by its
/// specification that it could not take.
bool may_write_itself(const oci::Spec& spec) {
  const auto& capabilities = spec.process.capabilities;
  return capabilities &&
         std::ranges::find(capabilities->effective, "CAP_SYS_ADMIN") !=
             capabilities->effective.end() &&
         !has_namespace(spec, oci::NamespaceType::kUser) &&
         !covers_proc_sys(spec.linux.readonly_paths) && !covers_proc_sys(spec.linux.masked_paths);
}

Status check_allowed(const oci::Spec& spec, const std::string& key) {
  if (std::ranges::find(kIpc, key) != kIpc.end() || key.starts_with("fs.mqueue.")) {
    if (has_namespace(spec, oci::NamespaceType::kIpc)) return {};
    return fail(Code::kInvalidArgument, "sysctl \"{}\" is not allowed in the hosts ipc namespace",
                key);
  }
  if (key.starts_with("net.")) return {};
  if (has_namespace(spec, oci::NamespaceType::kUts)) {
    if (key == "kernel.domainname") return {};
    if (key == "kernel.hostname")
      return fail(Code::kInvalidArgument,
                  "sysctl \"{}\" is not allowed as it conflicts with the OCI \"hostname\" field",
                  key);
  }
  if (may_write_itself(spec)) return {};
  return fail(Code::kInvalidArgument, "sysctl \"{}\" is not in a separate kernel namespace", key);
}

bool is_of_network(const std::string& key) { return key.starts_with("net."); }

template <typename Wanted>
Status apply(const oci::Spec& spec, const std::string& proc_sys, Wanted wanted) {
  if (spec.linux.sysctl.empty()) return {};
  UniqueFd root(::open(proc_sys.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail_call(fmt::format("open {}", proc_sys));
  for (const auto& [written, value] : spec.linux.sysctl) {
    auto key = with_dots(written);
    if (!wanted(key)) continue;
    KATA_CHECK(check_allowed(spec, key));
    auto path = as_path(key);
    auto file = sys::open_in_root(root.get(), path, O_WRONLY);
    if (!file) return std::unexpected(file.error().with_stage(fmt::format("sysctl {}", key)));
    if (::write(file->get(), value.data(), value.size()) < 0)
      return fail_call(fmt::format("write {}/{}", proc_sys, path));
  }
  return {};
}

}  // namespace

Status apply_sysctls(const oci::Spec& spec, const std::string& proc_sys) {
  const bool own_ids = has_namespace(spec, oci::NamespaceType::kUser);
  return apply(spec, proc_sys,
               [own_ids](const std::string& key) { return !own_ids || !is_of_network(key); });
}

Status apply_network_sysctls(const oci::Spec& spec, const std::string& proc_sys) {
  return apply(spec, proc_sys, is_of_network);
}

}  // namespace kata::isolation
