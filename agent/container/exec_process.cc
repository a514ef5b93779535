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

json to_json(const oci::Scheduler& scheduler) {
  return {{"policy", scheduler.policy},      {"nice", scheduler.nice},
          {"priority", scheduler.priority},  {"flags", scheduler.flags},
          {"runtime", scheduler.runtime_ns}, {"deadline", scheduler.deadline_ns},
          {"period", scheduler.period_ns}};
}

json to_json(const oci::IoPriority& priority) {
  return {{"class", priority.io_class}, {"priority", priority.priority}};
}

json to_json(const oci::CpuAffinity& affinity) {
  return {{"initial", affinity.initial}, {"final", affinity.final}};
}

void take_over(json& process, const char* key, const std::string& of_init) {
  const bool open = !has(process, key) || process[key] == "";
  if (open && !of_init.empty()) process[key] = of_init;
}

template <typename T>
void take_over(json& process, const char* key, const std::optional<T>& of_init) {
  if (!has(process, key) && of_init) process[key] = to_json(*of_init);
}

}  // namespace

Result<std::string> complete_exec_process(std::string_view process_json, const oci::Process& init) {
  KATA_CHECK(oci::check_bounds(process_json, "process"));
  try {
    json process = json::parse(process_json);
    take_over(process, "capabilities", init.capabilities);
    if (!has(process, "rlimits")) process["rlimits"] = to_json(init.rlimits);
    if (!has(process, "oomScoreAdj") && init.oom_score_adj) {
      process["oomScoreAdj"] = *init.oom_score_adj;
    }
    take_over(process, "apparmorProfile", init.apparmor_profile);
    take_over(process, "selinuxLabel", init.selinux_label);
    take_over(process, "scheduler", init.scheduler);
    take_over(process, "ioPriority", init.io_priority);
    take_over(process, "execCPUAffinity", init.exec_cpu_affinity);
    return process.dump();
  } catch (const json::exception& bad) {
    return fail(Code::kInvalidArgument, "process: {}", bad.what());
  }
}

}  // namespace kata::container
