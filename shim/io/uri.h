// The URIs by which containerd names a stream's other end (core/runtime/v2/README.md, "Logging").
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/error/error.h"

namespace kata::io {

struct StdioUri {
  /// Lower case. A plain path is a fifo's.
  std::string scheme = "fifo";
  /// Without percent-encoding.
  std::string path;
  /// In the order of the text, without percent-encoding; a key without a value has an empty one.
  std::vector<std::pair<std::string, std::string>> query;
};

/// InvalidArgument: a percent-encoding that is none, a NUL, a host.
Result<StdioUri> parse_stdio_uri(const std::string& text);

}  // namespace kata::io
