#include "runtime/config/drop_ins.h"

#include <algorithm>
#include <system_error>

#include "common/log/log.h"

namespace kata::config {
namespace {

constexpr size_t kMaxDropIns = 256;
constexpr const char* kDirectory = "config.d";

Error unreadable(const std::filesystem::path& path, const std::error_code& error) {
  // Never NotFound: that says that there is no configuration.toml.
  return Error(Code::kFailedPrecondition,
               fmt::format("configuration: read {}: {}", path.native(), error.message()));
}

}  // namespace

Result<std::vector<std::filesystem::path>> find_drop_ins(const std::filesystem::path& file) {
  std::error_code error;
  const auto resolved = std::filesystem::canonical(file, error);
  if (error) return std::unexpected(unreadable(file, error));
  const auto directory = resolved.parent_path() / kDirectory;
  std::vector<std::filesystem::path> found;
  std::filesystem::directory_iterator entries(directory, error);
  if (error == std::errc::no_such_file_or_directory) return found;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const auto& path = entries->path();
    // What editors keep beside a file.
    if (path.filename().native().starts_with('.')) continue;
    if (path.extension() != ".toml") {
      log::warning("a file among the drop-ins is not read: its name does not end in .toml",
                   {{"file", path.native()}});
      continue;
    }
    if (found.size() == kMaxDropIns)
      return fail(Code::kResourceExhausted, "configuration: {} holds more than {} drop-ins",
                  directory.native(), kMaxDropIns);
    found.push_back(path);
  }
  if (error) return std::unexpected(unreadable(directory, error));
  std::ranges::sort(found, {}, [](const auto& path) { return path.filename().native(); });
  return found;
}

}  // namespace kata::config
