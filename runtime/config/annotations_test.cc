#include "runtime/config/annotations.h"

#include <catch2/catch.hpp>

#include "runtime/config/annotation_rules.h"
#include "runtime/config/schema.h"

namespace kata::config {
namespace {

constexpr HostSize kHost{.processors = 4, .memory_mib = 8192};

std::string hypervisor(std::string_view key) {
  return fmt::format("io.katacontainers.config.hypervisor.{}", key);
}

Config open_config() {
  Config config;
  config.source = "/etc/kata-containers/configuration.toml";
  config.hypervisor.enable_annotations = {".*"};
  return config;
}

Error refusal(const std::string& name, const std::string& value, Config config = open_config()) {
  const Status applied = apply_annotations({{name, value}}, kHost, config);
  INFO(name);
  REQUIRE_FALSE(applied.has_value());
  return applied.error();
}

TEST_CASE("every annotation that is known reaches its setting") {
  Config config = open_config();
  Hypervisor& qemu = config.hypervisor;
  qemu.valid_hypervisor_paths = {"/opt/*/bin/qemu-*"};
  qemu.valid_virtio_fs_daemon_paths = {"/opt/virtiofsd"};
  qemu.valid_kernel_paths = {"/opt/kernels/?"};
  qemu.valid_initrd_paths = {"/opt/initrd[12]"};
  qemu.kernel_params = "quiet loglevel=4";
  const Status applied = apply_annotations({{hypervisor("default_vcpus"), "3"},
                                            {hypervisor("default_memory"), "2048"},
                                            {hypervisor("kernel_params"), "loglevel=7 debug"},
                                            {hypervisor("kernel"), "/opt/kernels/a"},
                                            {hypervisor("initrd"), "/opt/initrd2"},
                                            {hypervisor("path"), "/opt/a/bin/qemu-x"},
                                            {hypervisor("machine_type"), "q35"},
                                            {hypervisor("virtio_fs_cache"), "never"},
                                            {hypervisor("virtio_fs_daemon"), "/opt/virtiofsd"},
                                            {hypervisor("disable_block_device_use"), "true"},
                                            {"io.katacontainers.config.agent.dial_timeout", "90"},
                                            {"io.katacontainers.config.agent.enable_debug", "1"},
                                            {"io.kubernetes.cri.sandbox-id", "other people's"}},
                                           kHost, config);
  INFO((applied ? "" : applied.error().message()));
  REQUIRE(applied.has_value());
  CHECK(qemu.default_vcpus == 3);
  CHECK(qemu.default_memory_mib == 2048);
  CHECK(qemu.kernel_params == "quiet loglevel=7 debug");
  CHECK(qemu.kernel == "/opt/kernels/a");
  CHECK(qemu.initrd == "/opt/initrd2");
  CHECK(qemu.path == "/opt/a/bin/qemu-x");
  CHECK(qemu.virtio_fs_cache == "never");
  CHECK(qemu.virtio_fs_daemon == "/opt/virtiofsd");
  CHECK(qemu.disable_block_device_use);
  CHECK(config.agent.dial_timeout == std::chrono::seconds(90));
  CHECK(config.agent.debug);
  CHECK(config.is_annotated);
}

TEST_CASE("without annotations of ours nothing changes") {
  Config config;
  CHECK(apply_annotations({{"io.kubernetes.cri.sandbox-id", "s"}}, kHost, config));
  CHECK_FALSE(config.is_annotated);
}

TEST_CASE("what is not enabled is refused with the remedy") {
  Config config;
  const Error none = refusal(hypervisor("default_memory"), "512", config);
  CHECK(none.code() == Code::kPermissionDenied);
  CHECK(none.message() ==
        "annotation io.katacontainers.config.hypervisor.default_memory is not enabled: remove it, "
        "or add \"default_memory\" to enable_annotations in [hypervisor.qemu] of defaults");
  config = open_config();
  // The whole name, or one would enable kernel_params by "kernel", and path by the wish for
  // another.
  config.hypervisor.enable_annotations = {"kernel", "default_v.*", "mem"};
  CHECK(refusal(hypervisor("kernel_params"), "x", config)
            .message()
            .ends_with("of /etc/kata-containers/configuration.toml"));
  CHECK(refusal(hypervisor("default_memory"), "512", config).code() == Code::kPermissionDenied);
  CHECK(apply_annotations({{hypervisor("default_vcpus"), "2"}}, kHost, config));
  CHECK(refusal("io.katacontainers.config.agent.enable_debug", "true", config).code() ==
        Code::kPermissionDenied);
}

TEST_CASE("unknown annotations are refused by name, not ignored") {
  CHECK(refusal(hypervisor("default_memroy"), "512").message() ==
        "annotation io.katacontainers.config.hypervisor.default_memroy is not supported by this "
        "runtime: remove it (the nearest known one is "
        "io.katacontainers.config.hypervisor.default_memory)");
  // Kata's longest stays whole.
  CHECK(refusal(hypervisor("vhost_user_reconnect_timeout_sec"), "1")
            .message()
            .find("vhost_user_reconnect_timeout_sec is not supported") != std::string::npos);
  for (const char* name :
       {"io.katacontainers.config.runtime.sandbox_cgroup_only",
        "io.katacontainers.config.agent.kernel_modules", "io.katacontainers.config.hypervisor.",
        "io.katacontainers.config.", "io.katacontainers.", "io.katacontainers.config_path",
        "io.katacontainers.container.resource.swappiness"}) {
    CHECK(refusal(name, "1").code() == Code::kInvalidArgument);
    CHECK_FALSE(check_annotation_names({{name, "1"}}));
  }
  CHECK(check_annotation_names({{hypervisor("default_memory"), "anything"}, {"other", ""}}));
}

TEST_CASE("keys that are the node's alone are no annotations") {
  const std::string_view allowed[] = {"path",
                                      "kernel",
                                      "initrd",
                                      "machine_type",
                                      "kernel_params",
                                      "default_vcpus",
                                      "default_memory",
                                      "virtio_fs_daemon",
                                      "dial_timeout",
                                      "virtio_fs_cache",
                                      "enable_debug",
                                      "disable_block_device_use",
                                      "enable_hugepages",
                                      "reclaim_guest_freed_memory"};
  for (const Key& key : known_keys()) {
    const std::string_view word = key.table.substr(0, key.table.find('.'));
    if (std::ranges::find(allowed, key.name) != std::end(allowed) && word != "runtime") continue;
    const Error error =
        refusal(fmt::format("io.katacontainers.config.{}.{}", word, key.name), "true");
    CHECK(error.message().find("is the node's to set, in [" + std::string(key.table) + "]") !=
          std::string::npos);
  }
}

TEST_CASE("values are checked as those of the file") {
  const auto message = [](std::string_view key, const std::string& value) {
    const std::string name = hypervisor(key);
    const Error error = refusal(name, value);
    CHECK(error.code() == Code::kInvalidArgument);
    const std::string prefix = fmt::format("annotation {}: {} ", name, key);
    CHECK(error.message().starts_with(prefix));
    return error.message().substr(std::min(prefix.size(), error.message().size()));
  };
  CHECK(message("default_memory", "64") == "is 64, must be from 128 to 16777216 MiB");
  CHECK(message("default_memory", "8193") == "is 8193 MiB, more than the host's 8192 MiB");
  CHECK(message("default_memory", "-1") == "is -1, must be from 128 to 16777216 MiB");
  CHECK(message("default_vcpus", "5") == "is 5, more than the host's 4 processors");
  CHECK(message("default_vcpus", "1.5") == "is \"1.5\", must be a whole number");
  for (const char* text : {"", " 2", "2 ", "+2", "0x2", "two", "99999999999999999999", "2\n"})
    CHECK(message("default_vcpus", text).ends_with("must be a whole number"));
  CHECK(message("default_vcpus", std::string("2\0", 2)) == R"(is "2\x00", must be a whole number)");
  CHECK(message("disable_block_device_use", "yes") == "is \"yes\", must be true or false");
  CHECK(message("machine_type", "microvm") == "is 'microvm', must be one of 'q35'");
  CHECK(message("virtio_fs_cache", "none").ends_with("one of 'never', 'auto', 'always'"));
  CHECK(message("kernel_params", "a\nb") == "must not hold control characters");
  CHECK(message("kernel_params", std::string("a\0b", 3)) == "must not hold control characters");
  CHECK(message("kernel_params", std::string(2000, 'x')) ==
        "has 2000 characters, must have at most 1536");
  CHECK(message("kernel_params", std::string(1 << 20, 'x')) ==
        "has 1048576 characters, must have at most 4096");
  CHECK(message("kernel_params", "a=\"b") == "must not leave a quote open");
}

TEST_CASE("the node's and the pod's kernel parameters have one limit together") {
  Config config = open_config();
  config.hypervisor.kernel_params = std::string(1000, 'n');
  CHECK(refusal(hypervisor("kernel_params"), std::string(1000, 'p'), config)
            .message()
            .ends_with("has 2001 characters, must have at most 1536"));
}

TEST_CASE("paths need a list of their own") {
  const Error error = refusal(hypervisor("path"), "/usr/bin/qemu-system-x86_64");
  CHECK(error.code() == Code::kPermissionDenied);
  CHECK(error.message() ==
        "annotation io.katacontainers.config.hypervisor.path: the path "
        "\"/usr/bin/qemu-system-x86_64\" is not allowed: add it, or a pattern for it, to "
        "valid_hypervisor_paths in [hypervisor.qemu] of /etc/kata-containers/configuration.toml");
  for (const auto& [key, list] :
       {std::pair{"virtio_fs_daemon", "valid_virtio_fs_daemon_paths"},
        std::pair{"kernel", "valid_kernel_paths"}, std::pair{"initrd", "valid_initrd_paths"}})
    CHECK(refusal(hypervisor(key), "/etc/shadow").message().find(list) != std::string::npos);
}

TEST_CASE("a pattern does not let paths out of its directory") {
  const std::vector<std::string> patterns = {"/opt/kata/bin/*", "/srv/*/vmlinux"};
  CHECK(is_path_allowed(patterns, "/opt/kata/bin/qemu"));
  CHECK(is_path_allowed(patterns, "/srv/a/vmlinux"));
  for (const char* path :
       {"", "/", "opt/kata/bin/qemu", "/opt/kata/bin/../../../bin/sh", "/opt/kata/bin/..",
        "/opt/kata/bin/.", "/opt/kata/bin//qemu", "/opt/kata/bin/./qemu", "/opt/kata/bin/a/b",
        "/opt/kata/bin/.hidden", "/srv/../vmlinux", "/srv/a/b/vmlinux", "//opt/kata/bin/qemu"}) {
    INFO(path);
    CHECK_FALSE(is_path_allowed(patterns, path));
  }
  CHECK_FALSE(is_path_allowed(patterns, std::string("/opt/kata/bin/qemu\0/x", 21)));
  CHECK_FALSE(is_path_allowed(patterns, "/opt/kata/bin/" + std::string(5000, 'x')));
  CHECK_FALSE(is_path_allowed({}, "/opt/kata/bin/qemu"));
}

TEST_CASE("names of any bytes stay one line") {
  const Error error = refusal("io.katacontainers.x\nlevel=error", "1");
  CHECK(error.message().find('\n') == std::string::npos);
  CHECK(error.message().find(R"("io.katacontainers.x\x0alevel=error")") != std::string::npos);
  CHECK(refusal("io.katacontainers." + std::string(1 << 20, 'x'), "1").message().size() < 512);
}

TEST_CASE("expressions are bounded, and matched in linear time") {
  CHECK(check_expressions(std::vector<std::string>{"default_.*", "kernel|initrd"}));
  CHECK(check_expressions(std::vector<std::string>{"("}).error().message() ==
        "holds \"(\", which is no regular expression: missing ): (");
  CHECK_FALSE(check_expressions(std::vector<std::string>{"a{1000}{1000}{1000}"}));
  CHECK_FALSE(check_expressions(std::vector<std::string>{"(?=a)"}));
  CHECK_FALSE(check_expressions(std::vector<std::string>{""}));
  CHECK_FALSE(check_expressions(std::vector<std::string>{std::string(257, 'a')}));
  CHECK_FALSE(check_expressions(std::vector<std::string>(129, "a")));
  // Would take 2^64 steps where expressions backtrack.
  const std::vector<std::string> nested = {"(a*)*b"};
  REQUIRE(check_expressions(nested));
  CHECK_FALSE(matches_any(nested, std::string(64, 'a')));
}

TEST_CASE("path patterns are bounded") {
  CHECK(check_path_patterns(std::vector<std::string>{"/opt/*", "/a/[b-d]?"}));
  CHECK(check_path_patterns(std::vector<std::string>{"opt/*"}).error().message() ==
        "holds \"opt/*\", which must be absolute");
  CHECK_FALSE(check_path_patterns(std::vector<std::string>{"/*********"}));
  CHECK_FALSE(check_path_patterns(std::vector<std::string>{"/" + std::string(300, 'x')}));
}

}  // namespace
}  // namespace kata::config
