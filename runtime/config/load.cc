#include <algorithm>
#include <cstdlib>
#include <optional>
#include <vector>

#include "common/sys/file.h"
#include "runtime/config/config.h"
#include "runtime/config/drop_ins.h"
#include "runtime/config/nearest.h"
#include "runtime/config/schema.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace kata::config {
namespace {

constexpr size_t kMaxFileBytes = 1024 * 1024;

/// Overlays one file on a Config.
class Loader {
 public:
  Loader(const std::filesystem::path& file, Config& config) : file_(file), config_(config) {}

  Status load() {
    KATA_TRY(const std::string text, sys::read_file(file_, kMaxFileBytes));
    const toml::parse_result parsed = toml::parse(text, file_.native());
    if (!parsed) return refuse(parsed.error().source(), "{}", parsed.error().description());
    return read_table(parsed.table(), "");
  }

 private:
  template <typename... Args>
  std::unexpected<Error> refuse(const toml::source_region& where,
                                fmt::format_string<Args...> format, Args&&... args) {
    return fail(Code::kInvalidArgument, "configuration {} line {}: {}", file_.native(),
                where.begin.line, fmt::format(format, std::forward<Args>(args)...));
  }

  Status read_table(const toml::table& table, const std::string& path) {
    for (const auto& [toml_key, node] : table) {
      const std::string name(toml_key.str());
      const std::string full = path.empty() ? name : path + "." + name;
      if (const toml::table* inner = node.as_table()) {
        if (!leads_to_table(full)) return refuse_table(toml_key.source(), full);
        KATA_CHECK(read_table(*inner, full));
      } else {
        KATA_CHECK(read_key(toml_key.source(), path, name, node));
      }
    }
    return {};
  }

  /// "hypervisor" and "hypervisor.qemu" lead to the table hypervisor.qemu.
  static bool leads_to_table(const std::string& path) {
    return std::ranges::any_of(known_keys(), [&](const Key& key) {
      return key.table == path || key.table.starts_with(path + ".");
    });
  }

  std::unexpected<Error> refuse_table(const toml::source_region& where, const std::string& path) {
    std::vector<std::string_view> tables;
    for (const Key& key : known_keys()) tables.push_back(key.table);
    return refuse(where, "the table [{}] is not supported: the nearest known one is [{}]", path,
                  nearest(path, tables));
  }

  Status read_key(const toml::source_region& where, const std::string& table,
                  const std::string& name, const toml::node& node) {
    for (const Key& key : known_keys()) {
      if (key.table != table || key.name != name) continue;
      const auto value = value_of(node);
      Status set =
          value ? key.set(config_, *value)
                : fail(Code::kInvalidArgument,
                       "must be a string, a whole number, true or false, or a list of strings");
      if (!set) return refuse(where, "[{}] {} {}", table, name, set.error().message());
      return {};
    }
    return refuse_key(where, table, name);
  }

  static std::optional<Value> value_of(const toml::node& node) {
    if (const auto* text = node.as_string()) return text->get();
    if (const auto* number = node.as_integer()) return number->get();
    if (const auto* flag = node.as_boolean()) return flag->get();
    const toml::array* list = node.as_array();
    if (list == nullptr) return std::nullopt;
    std::vector<std::string> texts;
    for (const toml::node& element : *list) {
      const auto* text = element.as_string();
      if (text == nullptr) return std::nullopt;
      texts.push_back(text->get());
    }
    return texts;
  }

  std::unexpected<Error> refuse_key(const toml::source_region& where, const std::string& table,
                                    const std::string& name) {
    const std::string place = table.empty() ? "outside of tables" : "in [" + table + "]";
    std::vector<std::string_view> siblings;
    std::vector<std::string_view> all;
    for (const Key& key : known_keys()) {
      if (key.name == name && key.table != table)
        return refuse(where, "the key '{}' is not supported {}: it belongs to [{}]", name, place,
                      key.table);
      all.push_back(key.name);
      if (key.table == table) siblings.push_back(key.name);
    }
    return refuse(where, "the key '{}' is not supported {}: the nearest known one is '{}'", name,
                  place, nearest(name, siblings.empty() ? all : siblings));
  }

  const std::filesystem::path& file_;
  Config& config_;
};

/// <prefix> where <prefix>/bin holds the running executable.
std::filesystem::path installation_prefix() {
  std::error_code error;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "/usr/local" : executable.parent_path().parent_path();
}

void fill_in_guest_image(Config& config) {
  const auto images = installation_prefix() / "share/kata-containers";
  if (config.hypervisor.kernel.empty()) config.hypervisor.kernel = images / "vmlinux";
  if (config.hypervisor.initrd.empty()) config.hypervisor.initrd = images / "kata-initrd.img";
}

}  // namespace

Status check_together(Config& config) {
  Hypervisor& qemu = config.hypervisor;
  if (qemu.enable_hugepages && config.factory.use_template) {
    if (!config.is_annotated)
      return fail(Code::kInvalidArgument,
                  "configuration {} [factory]: enable_hugepages = true has no templates, whose "
                  "copies are of ordinary memory: set template = \"off\"",
                  describe_sources(config));
    // This pod's own wish: it boots.
    config.factory.use_template = false;
  }
  if (qemu.launcher != LauncherChoice::kLibvirt) return {};
  if (qemu.vsock == VsockChoice::kKernel)
    return fail(Code::kInvalidArgument,
                "configuration {} [hypervisor.qemu]: launcher = \"libvirt\" has no kernel vsock: "
                "set vsock = \"vhost-user\" or \"auto\"",
                describe_sources(config));
  if (config.factory.use_template)
    return fail(Code::kInvalidArgument,
                "configuration {} [factory]: launcher = \"libvirt\" has no templates: set template "
                "= \"off\"",
                describe_sources(config));
  // libvirt would open /dev/vhost-vsock itself, beside our back end.
  qemu.vsock = VsockChoice::kVhostUser;
  return {};
}

std::string describe_sources(const Config& config) {
  if (config.source.empty()) return "defaults";
  std::string files = config.source.native();
  for (const auto& drop_in : config.drop_ins) files += ", " + drop_in.native();
  return files;
}

Result<Config> load_file(const std::filesystem::path& file) {
  Config config;
  KATA_CHECK(Loader(file, config).load());
  config.source = file;
  KATA_TRY(config.drop_ins, find_drop_ins(file));
  for (const auto& drop_in : config.drop_ins) {
    const Status read = Loader(drop_in, config).load();
    // Gone since it was found: whoever tries the next configuration.toml must not hear NotFound.
    if (!read && read.error().code() == Code::kNotFound)
      return fail(Code::kUnavailable, "configuration: {}", read.error().message());
    KATA_CHECK(read);
  }
  KATA_CHECK(check_together(config));
  fill_in_guest_image(config);
  return config;
}

Result<Config> load_default() {
  // A file that is named explicitly must be there; the others are optional.
  if (const char* named = std::getenv("KATA_CONF_FILE"); named != nullptr && *named != '\0') {
    auto config = load_file(named);
    if (!config) return std::unexpected(config.error().with_stage("KATA_CONF_FILE"));
    return config;
  }
  const std::filesystem::path below = "share/defaults/kata-containers/configuration.toml";
  const std::filesystem::path candidates[] = {"/etc/kata-containers/configuration.toml",
                                              installation_prefix() / below, "/usr" / below};
  for (const auto& candidate : candidates) {
    auto config = load_file(candidate);
    if (config || config.error().code() != Code::kNotFound) return config;
  }
  Config config;
  fill_in_guest_image(config);
  return config;
}

}  // namespace kata::config
