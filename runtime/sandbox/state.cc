#include "runtime/sandbox/state.h"

#include <cstdint>

#include <nlohmann/json.hpp>

#include "common/sys/file.h"

namespace kata::sandbox {
namespace {

using nlohmann::json;

constexpr size_t kStateLimitBytes = 64 * 1024;
constexpr const char* kStateFile = "state.json";

json to_json(const State& state) {
  json helpers = json::array();
  for (const HelperProcess& helper : state.helpers)
    helpers.push_back({{"pid", helper.pid}, {"start_time", helper.start_time}});
  json cgroups = json::array();
  for (const std::filesystem::path& group : state.cgroups) cgroups.push_back(group.native());
  return {{"sandbox_id", state.sandbox_id},
          {"namespace", state.nspace},
          {"vm",
           {{"pid", state.vm.pid},
            {"start_time", state.vm.pid_start_time},
            {"libvirt_uri", state.vm.libvirt_uri},
            {"libvirt_uuid", state.vm.libvirt_uuid}}},
          {"helpers", helpers},
          {"cgroups", cgroups}};
}

State from_json(const json& value) {
  State state;
  state.sandbox_id = value.at("sandbox_id").get<std::string>();
  state.nspace = value.at("namespace").get<std::string>();
  const json& vm = value.at("vm");
  state.vm.pid = vm.at("pid").get<pid_t>();
  state.vm.pid_start_time = vm.at("start_time").get<uint64_t>();
  state.vm.libvirt_uri = vm.at("libvirt_uri").get<std::string>();
  state.vm.libvirt_uuid = vm.at("libvirt_uuid").get<std::string>();
  for (const json& helper : value.at("helpers"))
    state.helpers.push_back(
        HelperProcess{helper.at("pid").get<pid_t>(), helper.at("start_time").get<uint64_t>()});
  // Not in what older versions have written.
  for (const json& group : value.value("cgroups", json::array()))
    state.cgroups.push_back(group.get<std::string>());
  return state;
}

}  // namespace

std::string run_dir_key(std::string_view containerd_address, std::string_view nspace,
                        std::string_view sandbox_id) {
  // FNV-1a, 64 bits: the names are containerd's own, not an attacker's, and the directory is made
  // with mkdir, so that a collision would be an error and never a shared directory.
  uint64_t hash = 0xcbf29ce484222325;
  for (std::string_view part : {containerd_address, nspace, sandbox_id}) {
    for (unsigned char c : part) hash = (hash ^ c) * 0x100000001b3;
    hash = (hash ^ '/') * 0x100000001b3;
  }
  return fmt::format("{:016x}", hash);
}

Status save_state(const std::filesystem::path& run_dir, const State& state) {
  // Ids are validated as ASCII, but this must not throw whatever they hold.
  std::string text = to_json(state).dump(2, ' ', false, json::error_handler_t::replace);
  auto saved = sys::write_file_atomically(run_dir / kStateFile, text, 0600);
  if (!saved) return std::unexpected(saved.error().with_stage("sandbox state"));
  return {};
}

Result<State> load_state(const std::filesystem::path& run_dir) {
  std::filesystem::path file = run_dir / kStateFile;
  KATA_TRY(const std::string text, sys::read_file(file, kStateLimitBytes));
  try {
    return from_json(json::parse(text));
  } catch (const json::exception& error) {
    return fail(Code::kFailedPrecondition, "sandbox state {}: {}", file.native(), error.what());
  }
}

}  // namespace kata::sandbox
