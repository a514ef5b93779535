#include "agent/container/hook_bundle.h"

#include <system_error>

#include <sys/stat.h>
#include <unistd.h>

#include "common/sys/file.h"

namespace kata::container {
namespace {

namespace fs = std::filesystem;

Status make_parents(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return fail_errno(fmt::format("make {}", path.parent_path().native()), error.value());
  return {};
}

}  // namespace

Result<std::unique_ptr<HookBundle>> HookBundle::make(const fs::path& bundle,
                                                     std::string_view spec_json,
                                                     const fs::path& root_path,
                                                     const fs::path& rootfs) {
  std::unique_ptr<HookBundle> made(new HookBundle);
  auto done = made->make_all(bundle, spec_json, root_path, rootfs);
  if (!done)
    return std::unexpected(done.error().with_stage("the bundle for createContainer hooks"));
  return made;
}

Status HookBundle::make_all(const fs::path& bundle, std::string_view spec_json,
                            const fs::path& root_path, const fs::path& rootfs) {
  KATA_CHECK(make_parents(bundle));
  if (mkdir(bundle.c_str(), 0700) != 0) return fail_errno(fmt::format("mkdir {}", bundle.native()));
  directory_ = bundle;
  KATA_CHECK(sys::write_file_atomically(bundle / "config.json", spec_json, 0600));
  // An absolute one replaces the bundle's path.
  const fs::path root = (bundle / root_path).lexically_normal();
  KATA_CHECK(make_parents(root));
  if (symlink(rootfs.c_str(), root.c_str()) != 0)
    return fail_errno(fmt::format("link {}", root.native()));
  link_ = root;
  return {};
}

HookBundle::~HookBundle() {
  std::error_code ignored;
  if (!link_.empty()) unlink(link_.c_str());
  // Links in it are not followed.
  if (!directory_.empty()) fs::remove_all(directory_, ignored);
}

}  // namespace kata::container
