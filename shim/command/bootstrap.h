// What `start` prints for containerd (runtime/v2/README.md, "start").
#pragma once

#include <string>
#include <string_view>

namespace kata::command {

/// The newest version of the task service that this shim serves.
inline constexpr int kTaskServiceVersion = 3;

/// For version 2 the plain address: containerd 1.6 knows nothing else and later ones take it as
/// version 2 over ttrpc. For version 3, which is only used when `max_shim_version`
/// (MAX_SHIM_VERSION of containerd 1.7 and later; empty before) allows it, BootstrapParams in JSON.
std::string bootstrap_answer(const std::string& address, std::string_view max_shim_version,
                             int served_version = kTaskServiceVersion);

}  // namespace kata::command
