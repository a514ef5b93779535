#include "runtime/config/schema.h"

#include <algorithm>
#include <array>
#include <vector>

#include <fmt/ranges.h>

namespace kata::config {
namespace {

constexpr int64_t kMaxVcpus = 240;
/// Below, a kernel with its initramfs does not come up.
constexpr int64_t kMinMemoryMib = 64;
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
  KATA_TRY(const std::string text, expect<std::string>(value));
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
constexpr std::array kCacheModes = {Choice<std::string_view>{"never", "never"},
                                    Choice<std::string_view>{"auto", "auto"},
                                    Choice<std::string_view>{"always", "always"}};
constexpr std::array kMachineTypes = {Choice<std::string_view>{"q35", "q35"}};
/// Any other URI would be another host, or a driver without QEMU.
Result<std::string> expect_libvirt_uri(const Value& value) {
  KATA_TRY(const std::string uri, expect_text(value));
  if (uri == "qemu:///embed" || uri == "qemu:///system" ||
      uri.starts_with("qemu:///system?socket=/"))
    return uri;
  return fail(Code::kInvalidArgument,
              "is '{}', must be 'qemu:///embed', 'qemu:///system' or "
              "'qemu:///system?socket=<path>'",
              uri);
}

Status set_state_root(Config& config, const Value& value) {
  KATA_TRY(config.runtime.state_root, expect_path(value));
  const size_t size = config.runtime.state_root.native().size();
  if (size > kMaxStateRootBytes)
    return fail(Code::kInvalidArgument,
                "has {} characters, must have at most {}: unix sockets lie below it", size,
                kMaxStateRootBytes);
  return {};
}

Status set_kernel_params(Config& config, const Value& value) {
  KATA_TRY(config.hypervisor.kernel_params, expect_text(value));
  if (config.hypervisor.kernel_params.size() > kMaxKernelParamsBytes)
    return fail(Code::kInvalidArgument, "has {} characters, must have at most {}",
                config.hypervisor.kernel_params.size(), kMaxKernelParamsBytes);
  return {};
}

using Setter = std::function<Status(Config&, const Value&)>;

/// A setter from the place of a setting and a function that checks its value.
template <typename Place, typename Expect>
Setter assign(Place place, Expect expect_value) {
  return [=](Config& config, const Value& value) -> Status {
    KATA_TRY(place(config), expect_value(value));
    return {};
  };
}

constexpr std::string_view kQemu = "hypervisor.qemu";
constexpr std::string_view kAgent = "agent.kata";
constexpr std::string_view kRuntime = "runtime";

void add_hypervisor_keys(std::vector<Key>& keys) {
  const auto add = [&](std::string_view name, auto place, auto check) {
    keys.push_back({kQemu, name, assign(place, check)});
  };
  add(
      "path", [](Config & c) -> auto& { return c.hypervisor.path; }, expect_path);
  add(
      "kernel", [](Config & c) -> auto& { return c.hypervisor.kernel; }, expect_path);
  add(
      "initrd", [](Config & c) -> auto& { return c.hypervisor.initrd; }, expect_path);
  add(
      "machine_type", [](Config & c) -> auto& { return c.hypervisor.machine_type; },
      [](const Value& v) { return expect_choice(v, kMachineTypes); });
  keys.push_back({kQemu, "kernel_params", set_kernel_params});
  add(
      "default_vcpus", [](Config & c) -> auto& { return c.hypervisor.default_vcpus; },
      [](const Value& v) { return expect_number(v, 1, kMaxVcpus, ""); });
  add(
      "default_memory", [](Config & c) -> auto& { return c.hypervisor.default_memory_mib; },
      [](const Value& v) { return expect_number(v, kMinMemoryMib, kMaxMemoryMib, " MiB"); });
  add(
      "virtio_fs_daemon", [](Config & c) -> auto& { return c.hypervisor.virtio_fs_daemon; },
      expect_path);
  add(
      "virtio_fs_cache", [](Config & c) -> auto& { return c.hypervisor.virtio_fs_cache; },
      [](const Value& v) { return expect_choice(v, kCacheModes); });
  add(
      "seccompsandbox", [](Config & c) -> auto& { return c.hypervisor.seccomp_sandbox; },
      expect<bool>);
  add(
      "accel", [](Config & c) -> auto& { return c.hypervisor.accelerator; },
      [](const Value& v) { return expect_choice(v, kAccelerators); });
  add(
      "launcher", [](Config & c) -> auto& { return c.hypervisor.launcher; },
      [](const Value& v) { return expect_choice(v, kLaunchers); });
  add(
      "libvirt_uri", [](Config & c) -> auto& { return c.hypervisor.libvirt_uri; },
      expect_libvirt_uri);
  add(
      "vsock", [](Config & c) -> auto& { return c.hypervisor.vsock; },
      [](const Value& v) { return expect_choice(v, kVsocks); });
}

std::vector<Key> build_keys() {
  std::vector<Key> keys;
  add_hypervisor_keys(keys);
  keys.push_back({kAgent, "dial_timeout", [](Config& config, const Value& value) -> Status {
                    KATA_TRY(const int64_t seconds,
                             expect_number(value, 1, kMaxDialTimeoutSeconds, " seconds"));
                    config.agent.dial_timeout = std::chrono::seconds(seconds);
                    return {};
                  }});
  keys.push_back({kAgent, "enable_debug",
                  assign(
                      [](Config & c) -> auto& { return c.agent.debug; }, expect<bool>)});
  keys.push_back({kRuntime, "enable_debug", [](Config& config, const Value& value) -> Status {
                    KATA_TRY(const bool debug, expect<bool>(value));
                    config.runtime.log_level = debug ? log::Level::kDebug : log::Level::kInfo;
                    return {};
                  }});
  keys.push_back({kRuntime, "state_root", set_state_root});
  return keys;
}

}  // namespace

std::span<const Key> known_keys() {
  static const std::vector<Key> keys = build_keys();
  return keys;
}

}  // namespace kata::config
