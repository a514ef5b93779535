#include "runtime/hypervisor/qemu_version.h"

#include <charconv>

#include "common/sys/subprocess.h"

namespace kata::hypervisor {

bool is_new_enough(const QemuVersion& version) {
  return version.major > kOldestQemuMajor ||
         (version.major == kOldestQemuMajor && version.minor >= kOldestQemuMinor);
}

Result<QemuVersion> parse_qemu_version(std::string_view output) {
  constexpr std::string_view kBefore = "QEMU emulator version ";
  const std::string_view line = output.substr(0, output.find('\n'));
  const auto refuse = [&] {
    return fail(Code::kInvalidArgument, "this is no version of QEMU: '{}'", line);
  };
  if (!line.starts_with(kBefore)) return refuse();
  std::string_view number = line.substr(kBefore.size());
  number = number.substr(0, number.find(' '));
  QemuVersion version;
  version.text = number;
  const char* const end = number.data() + number.size();
  const auto major = std::from_chars(number.data(), end, version.major);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return refuse();
  const auto minor = std::from_chars(major.ptr + 1, end, version.minor);
  if (minor.ec != std::errc()) return refuse();
  return version;
}

Async<QemuVersion> query_qemu_version(const std::filesystem::path& qemu) {
  sys::SubprocessOptions options;
  options.executable = qemu;
  options.arguments.push_back("--version");
  KATA_CO_TRY(auto process, sys::Subprocess::spawn(co_await asio::this_coro::executor, options));
  KATA_CO_TRY(const sys::ExitStatus status, co_await process->wait());
  if (!status.success())
    co_return fail(Code::kFailedPrecondition, "{} --version {}: {}", qemu.native(),
                   sys::describe(status), process->output());
  co_return parse_qemu_version(process->output());
}

}  // namespace kata::hypervisor
