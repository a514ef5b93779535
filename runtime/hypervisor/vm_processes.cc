#include "runtime/hypervisor/vm_processes.h"

#include <algorithm>
#include <charconv>
#include <string>

#include <sys/stat.h>
#include <unistd.h>

#include "common/sys/file.h"

namespace kata::hypervisor {
namespace {

constexpr size_t kMaxArgumentsBytes = 1024 * 1024;

/// /proc/<pid>/cmdline: arguments, each ended by NUL.
bool is_qemu_with(std::string_view arguments, std::string_view text) {
  const std::string_view program = arguments.substr(0, arguments.find('\0'));
  return program.find("qemu-system") != std::string_view::npos &&
         arguments.find(text) != std::string_view::npos;
}

}  // namespace

std::vector<sys::ProcessIdentity> find_qemu_processes(std::string_view text) {
  std::vector<sys::ProcessIdentity> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) continue;
    struct stat info {};
    // Another user can write what they like into their arguments.
    if (::stat(entry.path().c_str(), &info) != 0 || info.st_uid != ::geteuid()) continue;
    // The identity first: it must not become that of a later process with the same pid.
    const auto start_time = sys::process_start_time(pid);
    const auto arguments = sys::read_file(entry.path() / "cmdline", kMaxArgumentsBytes);
    if (start_time && arguments && is_qemu_with(*arguments, text))
      found.push_back({.pid = pid, .start_time = *start_time});
  }
  return found;
}

Status end_stray_vms(const std::filesystem::path& run_dir, std::chrono::milliseconds timeout) {
  // Every VM of ours has its console and its vhost-user sockets there.
  for (const auto& process : find_qemu_processes("path=" + run_dir.native() + "/"))
    KATA_CHECK(sys::end_process(process, timeout));
  return {};
}

}  // namespace kata::hypervisor
