#include "agent/isolation/hidden_paths.h"

#include <optional>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "agent/isolation/devices.h"
#include "common/sys/mount.h"
#include "common/sys/scoped_path.h"

namespace kata::isolation {

namespace {

/// Nothing where the path does not exist.
Result<std::optional<UniqueFd>> open_existing(int root, const std::string& path) {
  auto found = sys::open_in_root(root, path, O_PATH);
  if (found) return std::optional(std::move(*found));
  if (found.error().code() == Code::kNotFound) return std::nullopt;
  return std::unexpected(found.error());
}

Status make_read_only(int path) {
  KATA_TRY(auto clone, sys::clone_mount(path, true));
  KATA_CHECK(sys::set_mount_attributes(clone.get(), MOUNT_ATTR_RDONLY, 0, false));
  return sys::attach_mount(clone.get(), path);
}

Status mask(int root, int path) {
  struct stat info;
  if (::fstat(path, &info) < 0) return fail_call("stat");
  if (S_ISDIR(info.st_mode))
    return sys::mount_on({"tmpfs", "tmpfs", "a masked directory", {"ro"}}, path);
  KATA_TRY(auto null, open_null(root));
  KATA_TRY(auto clone, sys::clone_mount(null.get(), false));
  return sys::attach_mount(clone.get(), path);
}

}  // namespace

Status hide_paths(const oci::Spec& spec) {
  UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail_call("open /");
  for (const auto& path : spec.linux.readonly_paths) {
    KATA_TRY(auto found, open_existing(root.get(), path));
    if (!found) continue;
    if (auto status = make_read_only(found->get()); !status)
      return std::unexpected(
          status.error().with_stage(fmt::format("can't make \"{}\" read-only", path)));
  }
  for (const auto& path : spec.linux.masked_paths) {
    KATA_TRY(auto found, open_existing(root.get(), path));
    if (!found) continue;
    if (auto status = mask(root.get(), found->get()); !status)
      return std::unexpected(status.error().with_stage(fmt::format("can't mask path {}", path)));
  }
  return {};
}

}  // namespace kata::isolation
