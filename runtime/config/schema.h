// The keys of configuration.toml: which table holds them, what they may say and where it goes.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/error/error.h"
#include "runtime/config/config.h"

namespace kata::config {

/// A scalar of the file, or a list of strings.
using Value = std::variant<std::string, int64_t, bool, std::vector<std::string>>;

struct Key {
  std::string_view table;  // "hypervisor.qemu"
  std::string_view name;   // "default_memory"
  /// InvalidArgument says what is allowed, as in "must be …".
  std::function<Status(Config&, const Value&)> set;
};

std::span<const Key> known_keys();

}  // namespace kata::config
