// Settings that a pod's annotations ask for: io.katacontainers.config.<section>.<key>, with Kata's
// names. Whoever may create pods writes them, so nothing counts that the host's configuration.toml
// does not allow, and nothing is ignored.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "common/error/error.h"
#include "runtime/config/config.h"

namespace kata::config {

using Annotations = std::map<std::string, std::string>;

/// What no pod can have more of.
struct HostSize {
  uint32_t processors = 1;
  uint64_t memory_mib = 0;
};

HostSize host_size();

/// Whether it is addressed to this runtime: io.katacontainers.…
bool is_of_runtime(std::string_view name);

/// InvalidArgument: an annotation io.katacontainers.… that this runtime does not know, with the
/// nearest that it knows, or what to do instead.
Status check_annotation_names(const Annotations& annotations);

/// Overlays the annotations of a pod. PermissionDenied: one that `config` does not enable, or a
/// path that it does not allow. InvalidArgument: an unknown one, or a value that is refused like
/// that of the key. Messages name the annotation, the key and the remedy. After a failure `config`
/// may be changed in part.
Status apply_annotations(const Annotations& annotations, const HostSize& host, Config& config);

}  // namespace kata::config
