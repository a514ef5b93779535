#include "agent/storage/disk_root.h"

#include "agent/sandbox/modules.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

Result<fs::path> mount_layers(const std::string& lower, std::vector<std::string> options,
                              const std::string& name, DiskMounts& mounts) {
  sys::MountEntry entry;
  entry.type = entry.source = "overlay";
  entry.options = std::move(options);
  entry.options.push_back("lowerdir=" + lower);
  return mounts.mount(std::move(entry), name);
}

}  // namespace

Result<fs::path> mount_root(const RootDisks& wanted, DiskMounts& mounts) {
  if (wanted.disks.empty() || wanted.upper.empty() != wanted.work.empty())
    return fail(Code::kInvalidArgument,
                "a root of disks needs a disk, and both or none of upper and "
                "work directory");
  std::string lower;
  for (size_t i = 0; i < wanted.disks.size(); ++i) {
    KATA_TRY(const fs::path disk, mounts.mount_disk(wanted.disks[i], fmt::format("disk{}", i)));
    lower += (lower.empty() ? "" : ":") + disk.native();
  }
  if (wanted.disks.size() == 1 && wanted.upper.empty()) return fs::path(lower);

  KATA_CHECK(sandbox::load_module_on_demand("overlay"));
  if (wanted.upper.empty()) return mount_layers(lower, {"ro"}, "root", mounts);
  if (wanted.disks.size() > 1) {
    // The layers say by trusted attributes which directories hide those below them; in the share,
    // whose server may not set these, an overlay has to use the user's. One knows one kind only.
    KATA_TRY(lower, mount_layers(lower, {"ro"}, "layers", mounts));
  }
  std::vector<std::string> options = {"upperdir=" + wanted.upper, "workdir=" + wanted.work,
                                      "userxattr"};
  return mount_layers(lower, std::move(options), "root", mounts);
}

}  // namespace kata::storage
