#include "runtime/cli/check.h"

#include <fstream>
#include <iostream>
#include <optional>

#include <unistd.h>

#include "runtime/hypervisor/accelerator.h"
#include "runtime/hypervisor/libvirt_loader.h"
#include "runtime/hypervisor/preflight.h"
#include "runtime/hypervisor/qemu_version.h"
#include "runtime/storage/share.h"

namespace kata::cli {
namespace {

using config::Config;

/// A Finding from an error, whose message already holds the remedy.
Finding failure(std::string subject, const Error& error) {
  return {.verdict = Verdict::kFailure,
          .subject = std::move(subject),
          .text = error.message(),
          .reasons = {},
          .remedy = {}};
}

Finding ok(std::string subject, std::string text) {
  return {.verdict = Verdict::kOk,
          .subject = std::move(subject),
          .text = std::move(text),
          .reasons = {},
          .remedy = {}};
}

Finding check_user() {
  if (::geteuid() == 0) return ok("user", "root");
  return {.verdict = Verdict::kFailure,
          .subject = "user",
          .text = fmt::format("uid {}", ::geteuid()),
          .reasons = {},
          .remedy = "pods need root (mounts, network namespaces): run this as root"};
}

Finding check_accelerator(config::AcceleratorChoice choice) {
  if (choice == config::AcceleratorChoice::kTcg)
    return ok("accelerator", "TCG (emulation), as configured");
  const hypervisor::KvmVerdict kvm = hypervisor::judge_kvm(hypervisor::host_probes());
  Finding finding = ok("accelerator", "KVM");
  finding.reasons = kvm.findings;
  if (kvm.usable) return finding;
  finding.remedy = kvm.remedy;
  const bool required = choice == config::AcceleratorChoice::kKvm;
  finding.verdict = required ? Verdict::kFailure : Verdict::kWarning;
  finding.text = required ? "KVM is configured and cannot be used"
                          : "TCG (emulation): pods start and run slower than with KVM";
  if (required) finding.remedy += ", or set accel to \"auto\" in [hypervisor.qemu]";
  return finding;
}

Result<hypervisor::QemuVersion> qemu_version(const std::filesystem::path& qemu) {
  asio::io_context io;
  std::optional<Result<hypervisor::QemuVersion>> version;
  asio::co_spawn(io, hypervisor::query_qemu_version(qemu),
                 [&](std::exception_ptr, Result<hypervisor::QemuVersion> value) {
                   version = std::move(value);
                 });
  io.run();
  if (!version) return fail(Code::kInternal, "{} --version gave no answer", qemu.native());
  return *std::move(version);
}

Finding check_qemu(const std::filesystem::path& qemu) {
  if (Status file = hypervisor::check_qemu_file(qemu); !file) return failure("QEMU", file.error());
  const auto version = qemu_version(qemu);
  if (!version) return failure("QEMU", version.error());
  Finding finding = ok("QEMU", fmt::format("{}, version {}", qemu.native(), version->text));
  if (!is_new_enough(*version)) {
    finding.verdict = Verdict::kFailure;
    finding.remedy = fmt::format("install QEMU {}.{} or newer", hypervisor::kOldestQemuMajor,
                                 hypervisor::kOldestQemuMinor);
  }
  return finding;
}

Finding check_image(std::string subject, const std::filesystem::path& file, Status status) {
  if (!status) return failure(std::move(subject), status.error());
  return ok(std::move(subject), file.native());
}

Finding check_virtiofsd(const std::filesystem::path& configured) {
  const auto found = storage::find_virtiofsd(configured);
  if (!found) return failure("virtiofsd", found.error());
  return ok("virtiofsd", found->native());
}

Finding check_vsock(config::VsockChoice choice) {
  if (choice == config::VsockChoice::kVhostUser)
    return ok("vsock", "the runtime's own vhost-user device, as configured");
  // Opened as a pod would, not only looked for.
  if (std::ifstream("/dev/vhost-vsock").is_open())
    return ok("vsock", "the kernel's /dev/vhost-vsock");
  if (choice == config::VsockChoice::kAuto)
    return ok("vsock", "the runtime's own vhost-user device (there is no /dev/vhost-vsock)");
  return {.verdict = Verdict::kFailure,
          .subject = "vsock",
          .text = "vsock is \"kernel\", but /dev/vhost-vsock cannot be opened",
          .reasons = {},
          .remedy = "modprobe vhost_vsock, or set vsock to \"auto\" in [hypervisor.qemu]"};
}

Finding check_memory(const config::Hypervisor& hypervisor) {
  Status size = hypervisor::check_vm_size(hypervisor.default_vcpus, hypervisor.default_memory_mib);
  if (!size) return failure("memory", size.error());
  return ok("memory", fmt::format("{} MiB and {} vCPU for each pod", hypervisor.default_memory_mib,
                                  hypervisor.default_vcpus));
}

Finding check_launcher(const config::Hypervisor& hypervisor) {
  if (hypervisor.launcher == config::LauncherChoice::kDirect) return ok("launcher", "direct");
  if (Status libvirt = hypervisor::check_libvirt(hypervisor.libvirt_uri); !libvirt)
    return failure("launcher", libvirt.error());
  return ok("launcher", fmt::format("libvirt, {}", hypervisor.libvirt_uri));
}

Finding describe_config(const Config& config) {
  return ok("configuration", config.source.empty() ? "defaults (there is no configuration.toml)"
                                                   : config::describe_sources(config));
}

}  // namespace

std::vector<Finding> examine_host(const Config& config) {
  const config::Hypervisor& qemu = config.hypervisor;
  return {describe_config(config),
          check_user(),
          check_accelerator(qemu.accelerator),
          check_qemu(qemu.path),
          check_image("guest kernel", qemu.kernel, hypervisor::check_kernel_file(qemu.kernel)),
          check_image("guest initrd", qemu.initrd, hypervisor::check_initrd_file(qemu.initrd)),
          check_memory(qemu),
          check_virtiofsd(qemu.virtio_fs_daemon),
          check_vsock(qemu.vsock),
          check_launcher(qemu)};
}

int run_check(const std::filesystem::path& config_file) {
  const auto config = config_file.empty() ? config::load_default() : config::load_file(config_file);
  std::vector<Finding> findings;
  if (config)
    findings = examine_host(*config);
  else
    findings.push_back(failure("configuration", config.error()));
  std::cout << render(findings);
  return can_start_pod(findings) ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace kata::cli
