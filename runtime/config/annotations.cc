#include "runtime/config/annotations.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

#include <sys/sysinfo.h>
#include <unistd.h>

#include "common/oci/json_reader.h"
#include "runtime/config/annotation_rules.h"
#include "runtime/config/kernel_params.h"
#include "runtime/config/nearest.h"
#include "runtime/config/schema.h"

namespace kata::config {
namespace {

constexpr std::string_view kPrefix = "io.katacontainers.";
constexpr std::string_view kConfigPrefix = "io.katacontainers.config.";
constexpr size_t kMaxValueBytes = 4096;
constexpr uint64_t kBytesPerMib = 1024 * 1024;

enum class Form { kText, kNumber, kFlag };

/// The key's table is `section`, which annotations call by its first word. Those of this list can
/// shape a pod's own VM and no more; paths lead to files of the host, and have lists of their own.
struct Known {
  std::string_view section;
  std::string_view key;
  Form form;
  std::string_view path_list = {};
  std::vector<std::string> Hypervisor::*allowed_paths = nullptr;
};
constexpr std::string_view kHypervisor = "hypervisor.qemu";
constexpr std::string_view kAgent = "agent.kata";
constexpr std::array kKnown = {
    Known{kHypervisor, "default_memory", Form::kNumber},
    Known{kHypervisor, "default_vcpus", Form::kNumber},
    Known{kHypervisor, "disable_block_device_use", Form::kFlag},
    Known{kHypervisor, "enable_hugepages", Form::kFlag},
    Known{kHypervisor, "initrd", Form::kText, "valid_initrd_paths",
          &Hypervisor::valid_initrd_paths},
    Known{kHypervisor, "kernel", Form::kText, "valid_kernel_paths",
          &Hypervisor::valid_kernel_paths},
    Known{kHypervisor, "kernel_params", Form::kText},
    Known{kHypervisor, "machine_type", Form::kText},
    Known{kHypervisor, "path", Form::kText, "valid_hypervisor_paths",
          &Hypervisor::valid_hypervisor_paths},
    Known{kHypervisor, "reclaim_guest_freed_memory", Form::kFlag},
    Known{kHypervisor, "virtio_fs_cache", Form::kText},
    Known{kHypervisor, "virtio_fs_daemon", Form::kText, "valid_virtio_fs_daemon_paths",
          &Hypervisor::valid_virtio_fs_daemon_paths},
    Known{kAgent, "dial_timeout", Form::kNumber},
    Known{kAgent, "enable_debug", Form::kFlag},
};

std::string name_of(const Known& known) {
  const std::string_view word = known.section.substr(0, known.section.find('.'));
  return fmt::format("{}{}.{}", kConfigPrefix, word, known.key);
}

const Known* find(std::string_view name) {
  const auto found = std::ranges::find(kKnown, name, name_of);
  return found == kKnown.end() ? nullptr : &*found;
}

/// The key of configuration.toml that would be meant, if it could be an annotation.
const Key* key_of(std::string_view name) {
  if (!name.starts_with(kConfigPrefix)) return nullptr;
  name.remove_prefix(kConfigPrefix.size());
  const auto found = std::ranges::find_if(known_keys(), [&](const Key& key) {
    const std::string_view word = key.table.substr(0, key.table.find('.'));
    return fmt::format("{}.{}", word, key.name) == name;
  });
  return found == known_keys().end() ? nullptr : &*found;
}

/// For messages: whole, where it is what a name can be; pods have names of any bytes.
std::string shown(std::string_view name) {
  constexpr size_t kMaxShown = 128;
  const bool is_plain = name.size() <= kMaxShown && std::ranges::all_of(name, [](char c) {
                          return c > ' ' && c < '\x7f' && c != '"' && c != '\\';
                        });
  return is_plain ? std::string(name) : oci::quote(name);
}

std::unexpected<Error> refuse_unknown(std::string_view name) {
  if (const Key* key = key_of(name))
    return fail(Code::kInvalidArgument,
                "annotation {} is not supported: {} is the node's to set, in [{}] of "
                "configuration.toml",
                shown(name), key->name, key->table);
  std::vector<std::string> names;
  for (const Known& known : kKnown) names.push_back(name_of(known));
  const std::vector<std::string_view> views(names.begin(), names.end());
  // What is too long to be a slip is not worth the comparison.
  constexpr size_t kMaxCompared = 128;
  return fail(Code::kInvalidArgument,
              "annotation {} is not supported by this runtime: remove it (the nearest known one is "
              "{})",
              shown(name), nearest(name.substr(0, kMaxCompared), views));
}

/// As Go's strconv.ParseBool, which Kata's users know.
std::optional<bool> parse_flag(std::string_view text) {
  for (std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"})
    if (text == yes) return true;
  for (std::string_view no : {"0", "f", "F", "false", "FALSE", "False"})
    if (text == no) return false;
  return std::nullopt;
}

std::optional<int64_t> parse_number(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Result<Value> value_of(const Known& known, const std::string& text, const Config& config) {
  if (text.size() > kMaxValueBytes)
    return fail(Code::kInvalidArgument, "has {} characters, must have at most {}", text.size(),
                kMaxValueBytes);
  if (known.form == Form::kNumber) {
    if (const auto number = parse_number(text)) return *number;
    return fail(Code::kInvalidArgument, "is {}, must be a whole number", oci::quote(text));
  }
  if (known.form == Form::kFlag) {
    if (const auto flag = parse_flag(text)) return *flag;
    return fail(Code::kInvalidArgument, "is {}, must be true or false", oci::quote(text));
  }
  // The node's stay, but for those that the pod says anew: Kata's rule.
  if (known.key == "kernel_params")
    return merge_kernel_params(config.hypervisor.kernel_params, text);
  return text;
}

Status set(const Known& known, const std::string& text, Config& config) {
  const auto key = std::ranges::find_if(known_keys(), [&](const Key& candidate) {
    return candidate.table == known.section && candidate.name == known.key;
  });
  if (key == known_keys().end())
    return fail(Code::kInternal, "no key [{}] {}", known.section, known.key);
  KATA_TRY(const Value value, value_of(known, text, config));
  return key->set(config, value);
}

/// More than a host has makes no pod faster, and can take the memory of all others.
Status check_size(const Known& known, const Config& config, const HostSize& host) {
  const Hypervisor& qemu = config.hypervisor;
  if (known.key == "default_vcpus" && qemu.default_vcpus > host.processors)
    return fail(Code::kInvalidArgument, "is {}, more than the host's {} processors",
                qemu.default_vcpus, host.processors);
  if (known.key == "default_memory" && qemu.default_memory_mib > host.memory_mib)
    return fail(Code::kInvalidArgument, "is {} MiB, more than the host's {} MiB",
                qemu.default_memory_mib, host.memory_mib);
  return {};
}

Status check_allowed(const Known& known, const std::string& name, const std::string& value,
                     const Config& config) {
  const std::string place = "in [hypervisor.qemu] of " + describe_sources(config);
  if (!matches_any(config.hypervisor.enable_annotations, known.key))
    return fail(Code::kPermissionDenied,
                "annotation {} is not enabled: remove it, or add \"{}\" to enable_annotations {}",
                name, known.key, place);
  if (known.allowed_paths == nullptr ||
      is_path_allowed(config.hypervisor.*known.allowed_paths, value))
    return {};
  return fail(Code::kPermissionDenied,
              "annotation {}: the path {} is not allowed: add it, or a pattern for it, to {} {}",
              name, oci::quote(value), known.path_list, place);
}

Status apply(const std::string& name, const std::string& text, const HostSize& host,
             Config& config) {
  const Known* known = find(name);
  if (known == nullptr) return refuse_unknown(name);
  KATA_CHECK(check_allowed(*known, name, text, config));
  Status applied = set(*known, text, config);
  if (applied) applied = check_size(*known, config, host);
  if (applied) return {};
  return fail(applied.error().code(), "annotation {}: {} {}", name, known->key,
              applied.error().message());
}

}  // namespace

HostSize host_size() {
  HostSize size;
  size.processors = static_cast<uint32_t>(std::max(1, get_nprocs()));
  const auto pages = static_cast<uint64_t>(std::max(0L, sysconf(_SC_PHYS_PAGES)));
  size.memory_mib = pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) / kBytesPerMib;
  return size;
}

bool is_of_runtime(std::string_view name) { return name.starts_with(kPrefix); }

Status check_annotation_names(const Annotations& annotations) {
  for (const auto& [name, value] : annotations)
    if (is_of_runtime(name) && find(name) == nullptr) return refuse_unknown(name);
  return {};
}

Status apply_annotations(const Annotations& annotations, const HostSize& host, Config& config) {
  for (const auto& [name, value] : annotations) {
    if (!is_of_runtime(name)) continue;
    KATA_CHECK(apply(name, value, host, config));
    config.is_annotated = true;
  }
  if (!config.is_annotated) return {};
  return check_together(config);
}

}  // namespace kata::config
