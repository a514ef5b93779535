#include "agent/container/exec_process.h"

#include <nlohmann/json.hpp>

#include "common/oci/parse.h"

namespace kata::container {
namespace {

using nlohmann::json;

bool has(const json& process, const char* key) {
  auto found = process.find(key);
  return found != process.end() && !found->is_null() && !(found->is_array() && found->empty());
}

json to_json(const oci::Capabilities& sets) {
  return {{"bounding", sets.bounding},
          {"effective", sets.effective},
          {"inheritable", sets.inheritable},
          {"permitted", sets.permitted},
          {"ambient", sets.ambient}};
}

json to_json(const std::vector<oci::Rlimit>& limits) {
  json out = json::array();
  for (const oci::Rlimit& limit : limits) {
    out.push_back({{"type", limit.type}, {"soft", limit.soft}, {"hard", limit.hard}});
  }
  return out;
}

}  // namespace

Result<std::string> complete_exec_process(std::string_view process_json, const oci::Process& init) {
  KATA_CHECK(oci::check_bounds(process_json, "process"));
  try {
    json process = json::parse(process_json);
    if (!has(process, "capabilities") && init.capabilities) {
      process["capabilities"] = to_json(*init.capabilities);
    }
    if (!has(process, "rlimits")) process["rlimits"] = to_json(init.rlimits);
    if (!has(process, "oomScoreAdj") && init.oom_score_adj) {
      process["oomScoreAdj"] = *init.oom_score_adj;
    }
    return process.dump();
  } catch (const json::exception& bad) {
    return fail(Code::kInvalidArgument, "process: {}", bad.what());
  }
}

}  // namespace kata::container
