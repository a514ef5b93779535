#include "runtime/cli/check.h"

#include <algorithm>

#include <catch2/catch.hpp>

namespace kata::cli {
namespace {

const Finding& find(const std::vector<Finding>& findings, std::string_view subject) {
  const auto found = std::ranges::find(findings, subject, &Finding::subject);
  REQUIRE(found != findings.end());
  return *found;
}

config::Config settings() {
  config::Config config;
  config.hypervisor.path = "/nonexistent/qemu";
  config.hypervisor.kernel = "/nonexistent/vmlinux";
  config.hypervisor.initrd = "/nonexistent/initrd";
  config.hypervisor.virtio_fs_daemon = "/nonexistent/virtiofsd";
  return config;
}

TEST_CASE("what is missing fails, with its path") {
  const auto findings = examine_host(settings());
  CHECK_FALSE(can_start_pod(findings));
  for (const auto& [subject, path] :
       {std::pair{"QEMU", "/nonexistent/qemu"}, std::pair{"guest kernel", "/nonexistent/vmlinux"},
        std::pair{"guest initrd", "/nonexistent/initrd"},
        std::pair{"virtiofsd", "/nonexistent/virtiofsd"}}) {
    const Finding& finding = find(findings, subject);
    CHECK(finding.verdict == Verdict::kFailure);
    CHECK(finding.text.find(path) != std::string::npos);
  }
}

TEST_CASE("all files of the configuration are named") {
  config::Config config = settings();
  config.source = "/etc/k.toml";
  config.drop_ins = {"/etc/config.d/1.toml"};
  CHECK(find(examine_host(config), "configuration").text == "/etc/k.toml, /etc/config.d/1.toml");
}

TEST_CASE("what is no QEMU fails") {
  config::Config config = settings();
  config.hypervisor.path = "/bin/true";
  CHECK(find(examine_host(config), "QEMU").text.find("no version of QEMU") != std::string::npos);
  config.hypervisor.path = "/bin/false";
  CHECK(find(examine_host(config), "QEMU").text.find("exited with status 1") != std::string::npos);
}

TEST_CASE("more memory than the host has fails") {
  config::Config config = settings();
  config.hypervisor.default_memory_mib = uint64_t{16} * 1024 * 1024;
  CHECK(find(examine_host(config), "memory").verdict == Verdict::kFailure);
}

TEST_CASE("emulation is as configured, or a warning") {
  config::Config config = settings();
  config.hypervisor.accelerator = config::AcceleratorChoice::kTcg;
  CHECK(find(examine_host(config), "accelerator").verdict == Verdict::kOk);
}

TEST_CASE("a report tells what failed and how often") {
  const std::vector<Finding> findings = {
      {.verdict = Verdict::kOk, .subject = "QEMU", .text = "7.2", .reasons = {}, .remedy = {}},
      {.verdict = Verdict::kWarning,
       .subject = "accelerator",
       .text = "TCG",
       .reasons = {"no vmx"},
       .remedy = "nested"}};
  CHECK(can_start_pod(findings));
  CHECK(render(findings) ==
        "ok      QEMU           7.2\n"
        "warning accelerator    TCG\n"
        "                       - no vmx\n"
        "                       remedy: nested\n"
        "A pod can start.\n");
  const std::vector<Finding> failed = {
      {.verdict = Verdict::kFailure, .subject = "a", .text = "b", .reasons = {}, .remedy = {}}};
  CHECK_FALSE(can_start_pod(failed));
  CHECK(render(failed).ends_with("No pod can start: 1 failure above.\n"));
}

}  // namespace
}  // namespace kata::cli
