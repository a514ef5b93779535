#include "shim/command/bundle.h"

#include <charconv>
#include <span>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/sys/file.h"

namespace kata::command {
namespace {

using nlohmann::json;

constexpr size_t kMaxSpecBytes = 8 * 1024 * 1024;
constexpr size_t kMaxLineBytes = 4096;
/// containerd names a plugin's state directory after the plugin.
constexpr const char* kSandboxController = "io.containerd.sandbox.controller.v1.shim";
/// containerd's and CRI-O's; the former count if there are both.
constexpr const char* kContainerTypes[] = {"io.kubernetes.cri.container-type",
                                           "io.kubernetes.cri-o.ContainerType"};
constexpr const char* kSandboxIds[] = {"io.kubernetes.cri.sandbox-id",
                                       "io.kubernetes.cri-o.SandboxID"};

/// The object at `key`; an empty one when there is none.
json object_at(const json& parent, const char* key) {
  auto found = parent.find(key);
  if (found == parent.end() || found->is_null()) return json::object();
  return *found;
}

/// Empty when there is none.
std::string text_at(const json& parent, const char* key) {
  json found = parent.value(key, json());
  return found.is_null() ? "" : found.get<std::string>();
}

std::string first_of(const json& annotations, std::span<const char* const> names) {
  for (const char* name : names)
    if (std::string found = text_at(annotations, name); !found.empty()) return found;
  return "";
}

// Throws json::exception where a type is wrong.
Placement placement_of(const json& spec) {
  Placement placement;
  json annotations = object_at(spec, "annotations");
  placement.container_type = first_of(annotations, kContainerTypes);
  placement.sandbox_id = first_of(annotations, kSandboxIds);
  placement.hostname = text_at(spec, "hostname");
  json platform = object_at(spec, "linux");
  for (const json& entry : object_at(platform, "namespaces"))
    if (entry.at("type") == "network") placement.network_namespace = entry.value("path", "");
  return placement;
}

}  // namespace

bool Bundle::is_of_sandbox_controller() const {
  std::error_code ignored;
  for (const auto& part : std::filesystem::absolute(directory_, ignored))
    if (part == kSandboxController) return true;
  return false;
}

Result<Placement> Bundle::placement() const {
  std::filesystem::path file = directory_ / "config.json";
  auto text = sys::read_file(file, kMaxSpecBytes);
  if (!text && text.error().code() == Code::kNotFound) return Placement();
  if (!text) return std::unexpected(text.error());
  try {
    json spec = json::parse(*text);
    if (!spec.is_object())
      return fail(Code::kInvalidArgument, "{} holds no JSON object", file.native());
    return placement_of(spec);
  } catch (const json::exception& error) {
    return fail(Code::kInvalidArgument, "{}: {}", file.native(), error.what());
  }
}

Status Bundle::write_address(const std::string& address) const {
  return sys::write_file_atomically(directory_ / "address", address, 0644);
}

Result<std::filesystem::path> Bundle::socket() const {
  constexpr std::string_view kScheme = "unix://";
  std::filesystem::path file = directory_ / "address";
  KATA_TRY(std::string text, sys::read_file(file, kMaxLineBytes));
  std::filesystem::path path(text.starts_with(kScheme) ? text.substr(kScheme.size()) : "");
  if (!path.is_absolute())
    return fail(Code::kInvalidArgument, "{} holds no socket's address", file.native());
  return path;
}

void Bundle::remove_address() const {
  std::error_code ignored;
  std::filesystem::remove(directory_ / "address", ignored);
}

Status Bundle::write_shim_pid(pid_t pid) const {
  return sys::write_file_atomically(directory_ / "shim.pid", fmt::format("{}", pid), 0644);
}

Result<pid_t> Bundle::shim_pid() const {
  std::filesystem::path file = directory_ / "shim.pid";
  KATA_TRY(std::string text, sys::read_file(file, kMaxLineBytes));
  pid_t pid = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc() || end != text.data() + text.size() || pid <= 0)
    return fail(Code::kInvalidArgument, "{} holds no pid", file.native());
  return pid;
}

Status Bundle::write_sandbox_dir(const std::filesystem::path& run_dir) const {
  return sys::write_file_atomically(directory_ / "sandbox-dir", run_dir.native(), 0600);
}

Result<std::filesystem::path> Bundle::write_configuration(const std::string& text) const {
  std::error_code error;
  // Of a name that tells, in messages, where its text comes from.
  auto file = std::filesystem::absolute(directory_ / "runtime-options.toml", error);
  if (error) return fail_errno("find the bundle", error.value());
  file = file.lexically_normal();
  KATA_CHECK(sys::write_file_atomically(file, text, 0600));
  return file;
}

Result<std::filesystem::path> Bundle::sandbox_dir() const {
  std::filesystem::path file = directory_ / "sandbox-dir";
  KATA_TRY(std::string text, sys::read_file(file, kMaxLineBytes));
  if (!text.starts_with('/'))
    return fail(Code::kInvalidArgument, "{} holds no absolute path", file.native());
  return std::filesystem::path(text);
}

}  // namespace kata::command
