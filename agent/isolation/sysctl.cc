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
  return fail(Code::kInvalidArgument, "sysctl \"{}\" is not in a separate kernel namespace", key);
}

}  // namespace

Status apply_sysctls(const oci::Spec& spec, const std::string& proc_sys) {
  if (spec.linux.sysctl.empty()) return {};
  UniqueFd root(::open(proc_sys.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail_call(fmt::format("open {}", proc_sys));
  for (const auto& [written, value] : spec.linux.sysctl) {
    auto key = with_dots(written);
    KATA_CHECK(check_allowed(spec, key));
    auto path = as_path(key);
    auto file = sys::open_in_root(root.get(), path, O_WRONLY);
    if (!file) return std::unexpected(file.error().with_stage(fmt::format("sysctl {}", key)));
    if (::write(file->get(), value.data(), value.size()) < 0)
      return fail_call(fmt::format("write {}/{}", proc_sys, path));
  }
  return {};
}

}  // namespace kata::isolation
