#include "common/oci/hooks.h"

#include <nlohmann/json.hpp>

namespace kata::oci {

std::string to_json(const State& state) {
  nlohmann::ordered_json json = {
      {"ociVersion", kNewestVersion}, {"id", state.id}, {"status", state.status}};
  if (state.pid != 0) json["pid"] = state.pid;
  json["bundle"] = state.bundle;
  if (!state.annotations.empty()) json["annotations"] = state.annotations;
  // Whatever a path or an annotation holds, this must not throw.
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string hook_name(std::string_view kind, size_t index, const Hook& hook) {
  return fmt::format("{} hook #{} ({})", kind, index, hook.path);
}

Error hook_error(std::string_view kind, size_t index, const Hook& hook, Code code,
                 std::string_view outcome, std::string_view output) {
  return Error(code, fmt::format("error running {}: {}{}{}", hook_name(kind, index, hook), outcome,
                                 output.empty() ? "" : ": ", output));
}

std::vector<std::string> arguments_of(const Hook& hook) {
  if (!hook.args.empty()) return hook.args;
  return {hook.path};
}

}  // namespace kata::oci
