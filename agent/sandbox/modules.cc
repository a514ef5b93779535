#include "agent/sandbox/modules.h"

#include <algorithm>
#include <filesystem>
#include <string>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/unique_fd.h"
#include "common/sys/file.h"

namespace kata::sandbox {
namespace {

constexpr const char* kBootList = "/etc/kata/modules";
constexpr const char* kOnDemandLists = "/etc/kata/modules.d";

Status load_module(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno(fmt::format("open module {}", path));
  if (syscall(SYS_finit_module, file.get(), "", 0) == 0 || errno == EEXIST) return {};
  return fail_errno(fmt::format("load module {}", path));
}

/// One path a line.
Status load_list(const std::filesystem::path& list) {
  constexpr size_t kMaxListBytes = 64 * 1024;
  auto content = sys::read_file(list, kMaxListBytes);
  if (!content && content.error().code() == Code::kNotFound) return {};
  if (!content) return std::unexpected(content.error());
  std::string_view rest = *content;
  while (!rest.empty()) {
    size_t end = std::min(rest.find('\n'), rest.size());
    if (end > 0) KATA_CHECK(load_module(std::string(rest.substr(0, end))));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

}  // namespace

Status load_boot_modules() { return load_list(kBootList); }

Status load_module_on_demand(std::string_view name) {
  if (name.empty() || !std::ranges::all_of(name, is_name_character)) {
    return fail(Code::kInvalidArgument, "\"{}\" is no kernel module's name", name);
  }
  return load_list(std::filesystem::path(kOnDemandLists) / name);
}

}  // namespace kata::sandbox
