#include "shim/command/bootstrap.h"

#include <algorithm>
#include <charconv>

#include <nlohmann/json.hpp>

namespace kata::command {
namespace {

constexpr int kPlainVersion = 2;

}  // namespace

std::string bootstrap_answer(const std::string& address, std::string_view max_shim_version,
                             int served_version) {
  int wanted = kPlainVersion;
  std::from_chars(max_shim_version.data(), max_shim_version.data() + max_shim_version.size(),
                  wanted);
  int version = std::min(wanted, served_version);
  if (version <= kPlainVersion) return address;
  return nlohmann::json{{"version", version}, {"address", address}, {"protocol", "ttrpc"}}.dump();
}

}  // namespace kata::command
