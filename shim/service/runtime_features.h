// What -info says of this runtime: the OCI features that it enforces
// (github.com/opencontainers/runtime-spec, features.md).
#pragma once

#include <string>
#include <string_view>

#include "common/error/error.h"

namespace kata::service {

/// How containerd names the features' type; their encoding is JSON.
inline constexpr const char* kFeaturesType =
    "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// What common/oci enforces today, asked there, so that it cannot become untrue. JSON.
std::string runtime_features();

/// containerd.types.RuntimeInfo: what `-info` prints. `input` is what stdin held: nothing, the
/// Any with the runtime's options, or a RuntimeRequest around it. Options of the type that ours
/// have are repeated. InvalidArgument: none of these.
Result<std::string> encode_runtime_info(std::string_view name, std::string_view version,
                                        std::string_view input);

}  // namespace kata::service
