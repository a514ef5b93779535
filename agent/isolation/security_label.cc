#include "agent/isolation/security_label.h"

#include <fcntl.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/sys/file.h"

namespace kata::isolation {

namespace {

constexpr const char* kSharedAttribute = "/proc/self/attr/exec";
constexpr const char* kAppArmorAttribute = "/proc/self/attr/apparmor/exec";

bool is_apparmor_enabled() {
  constexpr size_t kMaxBytes = 16;
  auto enabled = sys::read_file("/sys/module/apparmor/parameters/enabled", kMaxBytes);
  return enabled && enabled->starts_with('Y');
}

/// Without a policy every process is "kernel".
bool is_selinux_enabled() {
  constexpr size_t kMaxBytes = 4096;
  if (::access("/sys/fs/selinux", F_OK) < 0) return false;
  auto label = sys::read_file("/proc/self/attr/current", kMaxBytes);
  return label && !label->empty() && !label->starts_with("kernel");
}

Result<UniqueFd> open_attribute(const char* path) {
  UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  if (!file) return fail_call(fmt::format("open {}", path));
  return file;
}

}  // namespace

Result<SecurityLabel> SecurityLabel::prepare(const oci::Process& process) {
  SecurityLabel label;
  if (const auto& profile = process.apparmor_profile; !profile.empty()) {
    if (!is_apparmor_enabled())
      return fail(Code::kFailedPrecondition,
                  "process.apparmorProfile: unable to apply apparmor profile: apparmor: config "
                  "provided but apparmor not supported");
    // Kernels with one module alone have no directory for it.
    auto file = open_attribute(kAppArmorAttribute);
    if (!file) file = open_attribute(kSharedAttribute);
    if (!file) return std::unexpected(file.error());
    label.attributes_.push_back(
        {std::move(*file), "exec " + profile,
         "process.apparmorProfile: unable to apply apparmor profile " + profile});
  }
  if (const auto& wanted = process.selinux_label; !wanted.empty()) {
    if (!is_selinux_enabled())
      return fail(Code::kFailedPrecondition,
                  "process.selinuxLabel: selinux label is specified in config, but selinux is "
                  "disabled or not supported");
    KATA_TRY(auto file, open_attribute(kSharedAttribute));
    label.attributes_.push_back(
        {std::move(file), wanted, "process.selinuxLabel: can't set process label " + wanted});
  }
  return label;
}

Status SecurityLabel::apply() const {
  for (const auto& [file, text, failure] : attributes_)
    if (::write(file.get(), text.data(), text.size()) < 0) return fail_call(failure);
  return {};
}

}  // namespace kata::isolation
