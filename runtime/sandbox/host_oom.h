// Whether the host has ended a pod's processes because the pod's limit of memory there is too low.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kata::sandbox {

/// What the host's OOM killer has done in the pod's control groups (HostCgroup::directories), with
/// the limit that holds there and the remedy; nullopt: nothing. Blocking, but only some reads.
std::optional<std::string> describe_oom_kill(const std::vector<std::filesystem::path>& groups);

}  // namespace kata::sandbox
