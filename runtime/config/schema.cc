#include "runtime/config/schema.h"

#include <algorithm>
#include <array>
#include <vector>

#include <fmt/ranges.h>

#include "runtime/config/annotation_rules.h"

namespace kata::config {
namespace {

constexpr int64_t kMaxVcpus = 240;
/// Below, a kernel with its initramfs does not come up.
/// With less the kernel has no room to unpack its initramfs and a container.
constexpr int64_t kMinMemoryMib = 128;
constexpr int64_t kMaxMemoryMib = int64_t{16} * 1024 * 1024;
constexpr int64_t kMaxDialTimeoutSeconds = 3600;
/// What is left of sun_path's 107 characters beside "/<16 hex digits>/<longest socket name>".
constexpr size_t kMaxStateRootBytes = 60;
/// The kernel's COMMAND_LINE_SIZE on x86 is 2048; our own parameters need a part.
constexpr size_t kMaxKernelParamsBytes = 1536;

template <typename T>
std::string_view type_name() {
  if constexpr (std::is_same_v<T, std::string>) return "a string in quotes";
  if constexpr (std::is_same_v<T, int64_t>) return "a whole number";
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_same_v<T, std::vector<std::string>>) return "a list of strings";
}

template <typename T>
Result<T> expect(const Value& value) {
  if (const T* typed = std::get_if<T>(&value)) return *typed;
  return fail(Code::kInvalidArgument, "must be {}", type_name<T>());
}

Result<int64_t> expect_number(const Value& value, int64_t least, int64_t most,
                              std::string_view unit) {
  KATA_TRY(const int64_t number, expect<int64_t>(value));
  if (number < least || number > most)
    return fail(Code::kInvalidArgument, "is {}, must be from {} to {}{}", number, least, most,
                unit);
  return number;
}

Result<std::string> expect_text(const Value& value) {
  KATA_TRY(std::string text, expect<std::string>(value));
  const bool printable = std::ranges::all_of(
      text, [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; });
  if (!printable) return fail(Code::kInvalidArgument, "must not hold control characters");
  return text;
}

Result<std::filesystem::path> expect_path(const Value& value) {
  KATA_TRY(const std::string text, expect_text(value));
  if (text.empty() || text.front() != '/')
    return fail(Code::kInvalidArgument, "is '{}', must be an absolute path", text);
  return std::filesystem::path(text);
}

/// One of a few words, each with its value.
template <typename T>
struct Choice {
  std::string_view word;
  T value;
};

template <typename T, size_t N>
Result<T> expect_choice(const Value& value, const std::array<Choice<T>, N>& choices) {
  KATA_TRY(const std::string text, expect_text(value));
  std::vector<std::string_view> words;
  for (const auto& choice : choices) {
    if (choice.word == text) return choice.value;
    words.push_back(choice.word);
  }
  return fail(Code::kInvalidArgument, "is '{}', must be one of '{}'", text,
              fmt::join(words, "', '"));
}

constexpr std::array kAccelerators = {Choice{"auto", AcceleratorChoice::kAuto},
                                      Choice{"kvm", AcceleratorChoice::kKvm},
                                      Choice{"tcg", AcceleratorChoice::kTcg}};
constexpr std::array kLaunchers = {Choice{"direct", LauncherChoice::kDirect},
                                   Choice{"libvirt", LauncherChoice::kLibvirt}};
constexpr std::array kVsocks = {Choice{"auto", VsockChoice::kAuto},
                                Choice{"kernel", VsockChoice::kKernel},
                                Choice{"vhost-user", VsockChoice::kVhostUser}};
constexpr std::array kTemplates = {Choice{"off", false}, Choice{"auto", true}};
constexpr std::array kCacheModes = {Choice<std::string_view>{"never", "never"},
                                    Choice<std::string_view>{"auto", "auto"},
                                    Choice<std::string_view>{"always", "always"}};
constexpr std::array kMachineTypes = {Choice<std::string_view>{"q35", "q35"}};
/// Any other URI would be another host, or a driver without QEMU.
Result<std::string> expect_libvirt_uri(const Value& value) {
  KATA_TRY(std::string uri, expect_text(value));
  if (uri == "qemu:///embed" || uri == "qemu:///system" ||
      uri.starts_with("qemu:///system?socket=/"))
    return uri;
  return fail(Code::kInvalidArgument,
              "is '{}', must be 'qemu:///embed', 'qemu:///system' or "
              "'qemu:///system?socket=<path>'",
              uri);
}

Result<std::filesystem::path> expect_state_root(const Value& value) {
  KATA_TRY(std::filesystem::path path, expect_path(value));
  if (path.native().size() > kMaxStateRootBytes)
    return fail(Code::kInvalidArgument,
                "has {} characters, must have at most {}: unix sockets lie below it",
                path.native().size(), kMaxStateRootBytes);
  // The share lies below it, and virtiofsd has no way to escape one in its options.
  if (path.native().find(',') != std::string::npos)
    return fail(Code::kInvalidArgument, "is '{}', must not contain a comma", path.native());
  return path;
}

Result<std::string> expect_kernel_params(const Value& value) {
  KATA_TRY(std::string text, expect_text(value));
  if (text.size() > kMaxKernelParamsBytes)
    return fail(Code::kInvalidArgument, "has {} characters, must have at most {}", text.size(),
                kMaxKernelParamsBytes);
  return text;
}

Result<std::chrono::seconds> expect_dial_timeout(const Value& value) {
  KATA_TRY(const int64_t seconds, expect_number(value, 1, kMaxDialTimeoutSeconds, " seconds"));
  return std::chrono::seconds(seconds);
}

Result<log::Level> expect_log_level(const Value& value) {
  KATA_TRY(const bool debug, expect<bool>(value));
  return debug ? log::Level::kDebug : log::Level::kInfo;
}

Result<std::vector<std::string>> expect_annotation_names(const Value& value) {
  KATA_TRY(std::vector<std::string> expressions, expect<std::vector<std::string>>(value));
  KATA_CHECK(check_expressions(expressions));
  return expressions;
}

Result<std::vector<std::string>> expect_path_patterns(const Value& value) {
  KATA_TRY(std::vector<std::string> patterns, expect<std::vector<std::string>>(value));
  KATA_CHECK(check_path_patterns(patterns));
  return patterns;
}

using Setter = std::function<Status(Config&, const Value&)>;

/// A setter for a member of a section of Config, from a function that checks its value.
template <typename Section, typename T, typename Expect>
Setter assign(Section Config::*section, T Section::*member, Expect expect_value) {
  return [=](Config& config, const Value& value) -> Status {
    KATA_TRY((config.*section).*member, expect_value(value));
    return {};
  };
}

template <typename T, size_t N>
auto one_of(const std::array<Choice<T>, N>& choices) {
  return [&choices](const Value& value) { return expect_choice(value, choices); };
}

auto number(int64_t least, int64_t most, std::string_view unit) {
  return [=](const Value& value) { return expect_number(value, least, most, unit); };
}

constexpr std::string_view kQemu = "hypervisor.qemu";
constexpr std::string_view kAgent = "agent.kata";
constexpr std::string_view kRuntime = "runtime";
constexpr std::string_view kFactory = "factory";

void add_hypervisor_keys(std::vector<Key>& keys) {
  const auto add = [&](std::string_view name, auto member, auto check) {
    keys.push_back({kQemu, name, assign(&Config::hypervisor, member, check)});
  };
  add("path", &Hypervisor::path, expect_path);
  add("kernel", &Hypervisor::kernel, expect_path);
  add("initrd", &Hypervisor::initrd, expect_path);
  add("machine_type", &Hypervisor::machine_type, one_of(kMachineTypes));
  add("kernel_params", &Hypervisor::kernel_params, expect_kernel_params);
  add("default_vcpus", &Hypervisor::default_vcpus, number(1, kMaxVcpus, ""));
  add("default_memory", &Hypervisor::default_memory_mib,
      number(kMinMemoryMib, kMaxMemoryMib, " MiB"));
  add("default_maxvcpus", &Hypervisor::default_maxvcpus, number(0, kMaxVcpus, ""));
  add("default_maxmemory", &Hypervisor::default_maxmemory_mib, number(0, kMaxMemoryMib, " MiB"));
  add("virtio_fs_daemon", &Hypervisor::virtio_fs_daemon, expect_path);
  add("virtio_fs_cache", &Hypervisor::virtio_fs_cache, one_of(kCacheModes));
  add("disable_block_device_use", &Hypervisor::disable_block_device_use, expect<bool>);
  add("seccompsandbox", &Hypervisor::seccomp_sandbox, expect<bool>);
  add("enable_hugepages", &Hypervisor::enable_hugepages, expect<bool>);
  add("reclaim_guest_freed_memory", &Hypervisor::reclaim_guest_freed_memory, expect<bool>);
  add("disable_guest_apparmor", &Hypervisor::disable_guest_apparmor, expect<bool>);
  add("disable_guest_selinux", &Hypervisor::disable_guest_selinux, expect<bool>);
  add("accel", &Hypervisor::accelerator, one_of(kAccelerators));
  add("launcher", &Hypervisor::launcher, one_of(kLaunchers));
  add("libvirt_uri", &Hypervisor::libvirt_uri, expect_libvirt_uri);
  add("vsock", &Hypervisor::vsock, one_of(kVsocks));
  add("enable_annotations", &Hypervisor::enable_annotations, expect_annotation_names);
  add("valid_hypervisor_paths", &Hypervisor::valid_hypervisor_paths, expect_path_patterns);
  add("valid_virtio_fs_daemon_paths", &Hypervisor::valid_virtio_fs_daemon_paths,
      expect_path_patterns);
  add("valid_kernel_paths", &Hypervisor::valid_kernel_paths, expect_path_patterns);
  add("valid_initrd_paths", &Hypervisor::valid_initrd_paths, expect_path_patterns);
}

std::vector<Key> build_keys() {
  std::vector<Key> keys;
  add_hypervisor_keys(keys);
  keys.push_back(
      {kAgent, "dial_timeout", assign(&Config::agent, &Agent::dial_timeout, expect_dial_timeout)});
  keys.push_back({kAgent, "enable_debug", assign(&Config::agent, &Agent::debug, expect<bool>)});
  keys.push_back(
      {kRuntime, "enable_debug", assign(&Config::runtime, &Runtime::log_level, expect_log_level)});
  keys.push_back({kRuntime, "sandbox_cgroup_only",
                  assign(&Config::runtime, &Runtime::sandbox_cgroup_only, expect<bool>)});
  keys.push_back(
      {kRuntime, "state_root", assign(&Config::runtime, &Runtime::state_root, expect_state_root)});
  keys.push_back(
      {kFactory, "template", assign(&Config::factory, &Factory::use_template, one_of(kTemplates))});
  keys.push_back(
      {kFactory, "template_path", assign(&Config::factory, &Factory::template_path, expect_path)});
  return keys;
}

}  // namespace

std::span<const Key> known_keys() {
  static const std::vector<Key> keys = build_keys();
  return keys;
}

}  // namespace kata::config
