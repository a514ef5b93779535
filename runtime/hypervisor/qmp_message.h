// Parser of the QEMU Machine Protocol, as bytes arrive (docs/interop/qmp-spec.rst of QEMU).
//
// QEMU is a trust boundary: a guest may have taken it over. Lines are bounded, nesting is bounded,
// and whatever is no QMP message ends the connection.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/error/error.h"

namespace kata::hypervisor {

struct QmpGreeting {
  std::string qemu_version;  // "7.2.0"
};

struct QmpReply {
  uint64_t id = 0;
  Result<nlohmann::json> result;
};

struct QmpEvent {
  std::string name;
  nlohmann::json data;
};

using QmpMessage = std::variant<QmpGreeting, QmpReply, QmpEvent>;

/// Bytes in, messages out. After an error it must not be used any more.
class QmpParser {
 public:
  static constexpr size_t kMaxLineBytes = 256 * 1024;
  static constexpr int kMaxDepth = 32;

  /// The messages that `bytes` complete. InvalidArgument: not QMP, or a line without end.
  Result<std::vector<QmpMessage>> feed(std::string_view bytes);

 private:
  std::string partial_line_;
};

}  // namespace kata::hypervisor
