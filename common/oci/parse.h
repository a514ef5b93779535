// Reading config.json, at both ends: the shim to plan the pod, the agent to build the container.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::oci {

inline constexpr size_t kMaxSpecBytes = 8 * 1024 * 1024;
inline constexpr int kMaxSpecNesting = 32;

/// Refuses a text that is larger or nested deeper than that, InvalidArgument: JSON libraries follow
/// the nesting on their stack. What has passed can be handed to one.
Status check_bounds(std::string_view json, std::string_view what);

/// Parses and checks one config.json. Every failure is InvalidArgument and names the place, as
/// `process.rlimits[2].type: unknown value "RLIMIT_FOO"`. Keys that the specification does not know
/// are ignored, as it demands; null is the same as absent. No exception escapes.
Result<Spec> parse_spec(std::string_view json);

/// The same for a process alone (the process that an exec names).
Result<Process> parse_process(std::string_view json);

/// The same for linux.resources alone (the limits that an update names).
Result<Resources> parse_resources(std::string_view json);

/// What the spec asks for and the agent does not apply, one JSON path each, such as
/// "linux.seccomp": what is not supported yet, and what runc ignores, too (capabilities that it
/// does not know, settings of cgroup v1 that have no counterpart in v2 and limit nothing). The
/// agent logs them once per container: nothing is ignored in silence.
std::vector<std::string> not_enforced(const Spec& spec);
/// The same for the process of an exec.
std::vector<std::string> not_enforced(const Process& process);
/// The same for an update.
std::vector<std::string> not_enforced(const Resources& resources);

}  // namespace kata::oci
