#include "agent/isolation/cgroup_limit.h"

#include <fcntl.h>
#include <unistd.h>

#include "agent/isolation/cgroup_file.h"

namespace kata::isolation {

std::string amount(int64_t value) { return value == kUnlimited ? "max" : fmt::to_string(value); }

std::string spec_path(std::string_view key) { return fmt::format("linux.resources.{}", key); }

bool lacks_file(int group, const char* file, const Status& written) {
  return !written && written.error().code() == Code::kNotFound &&
         ::faccessat(group, file, F_OK, 0) < 0;
}

Status write_limit(int group, const Limit& limit, const std::string& value) {
  auto status = write_cgroup_file(group, limit.file, value);
  if (status) return {};
  if (lacks_file(group, limit.file, status))
    return fail(Code::kFailedPrecondition, "{}: the guest's kernel has no {} controller",
                spec_path(limit.key), limit.controller);
  return std::unexpected(status.error().with_stage(spec_path(limit.key)));
}

std::string first_line(int group, const char* file) {
  auto text = read_cgroup_file(group, file);
  if (!text) return "";
  return text->substr(0, text->find('\n'));
}

bool has_controller(int group, std::string_view name) {
  return fmt::format(" {} ", first_line(group, "cgroup.controllers"))
      .contains(fmt::format(" {} ", name));
}

}  // namespace kata::isolation
