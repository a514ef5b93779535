// The environment variables that containerd sets for a shim.
#pragma once

#include <cstdlib>
#include <string>

namespace kata::command {

inline std::string environment_value(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

inline constexpr const char* kTtrpcAddressVariable = "TTRPC_ADDRESS";
inline constexpr const char* kMaxVersionVariable = "MAX_SHIM_VERSION";
inline constexpr const char* kSchedCoreVariable = "SCHED_CORE";

}  // namespace kata::command
