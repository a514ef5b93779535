#include "runtime/storage/container_storage.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>

#include "common/sys/loop.h"
#include "common/sys/mountinfo.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

class SharedStorage : public ContainerStorage {
 public:
  SharedStorage(std::shared_ptr<SharedBinds> binds, std::string id)
      : binds_(std::move(binds)), id_(std::move(id)), directory_(binds_->share_root() / id_) {}

  ~SharedStorage() override { (void)remove(); }

  Status make_directory() {
    if (mkdir(directory_.c_str(), 0755) != 0)
      return fail_errno(fmt::format("storage: create {}", directory_.native()));
    made_ = true;
    return {};
  }

  Result<std::string> mount_rootfs(std::vector<sys::MountEntry> mounts,
                                   const fs::path& bundle_rootfs) override {
    fs::path target = directory_ / "rootfs";
    if (mkdir(target.c_str(), 0755) != 0)
      return fail_errno(fmt::format("storage: create {}", target.native()));
    root_ = target;
    if (mounts.empty()) {
      KATA_CHECK(check_bundle_rootfs(bundle_rootfs));
      sys::MountEntry bundle;
      bundle.source = bundle_rootfs;
      bundle.options = {"rbind"};
      mounts.push_back(std::move(bundle));
    }
    for (sys::MountEntry& entry : mounts) entry.target = target;
    KATA_TRY(const std::vector<sys::LoopDevice> loops, attach_loops(mounts));
    if (auto mounted = sys::mount_all(mounts); !mounted)
      return std::unexpected(mounted.error().with_stage("storage: mount the container's root"));
    return id_ + "/rootfs";
  }

  Result<std::string> bind(const fs::path& source, BindOptions options) override {
    // Once for all of them: hosts have thousands.
    if (mounts_.empty()) {
      KATA_TRY(mounts_, sys::read_mounts());
    }
    KATA_TRY(std::string place, binds_->acquire(source, options, mounts_));
    return bound_.emplace_back(std::move(place));
  }

  Status remove() override {
    Status first_failure;
    auto note = [&first_failure](const Status& status) {
      if (!status && first_failure) first_failure = status;
    };
    for (const std::string& place : std::exchange(bound_, {})) note(binds_->release(place));
    if (!root_.empty()) {
      // Detached, as binds are: see SharedBinds.
      note(sys::unmount_all_at(root_, /*detach=*/true));
      // If something is still mounted its content is not ours to delete, and this fails.
      if (rmdir(root_.c_str()) != 0 && errno != ENOENT)
        note(fail_errno(fmt::format("storage: remove {}", root_.native())));
      root_.clear();
    }
    if (made_ && rmdir(directory_.c_str()) != 0 && errno != ENOENT)
      note(fail_errno(fmt::format("storage: remove {}", directory_.native())));
    made_ = false;
    return first_failure;
  }

 private:
  /// Images become devices, which last as long as they are mounted, or as the answer.
  static Result<std::vector<sys::LoopDevice>> attach_loops(std::vector<sys::MountEntry>& mounts) {
    std::vector<sys::LoopDevice> loops;
    for (sys::MountEntry& entry : mounts) {
      if (std::erase(entry.options, "loop") == 0) continue;
      const bool read_only = std::ranges::find(entry.options, "ro") != entry.options.end();
      KATA_TRY(loops.emplace_back(), sys::attach_loop(entry.source, read_only));
      entry.source = loops.back().path;
    }
    return loops;
  }

  /// runc's two refusals: what the path means must be plain from the spec, and never the host.
  static Status check_bundle_rootfs(const fs::path& rootfs) {
    std::error_code error;
    const fs::path resolved = fs::canonical(rootfs, error);
    if (error)
      return fail_errno(fmt::format("storage: root.path {}", rootfs.native()), error.value());
    if (fs::is_symlink(rootfs, error) || resolved == "/")
      return fail(Code::kInvalidArgument,
                  "storage: root.path {} is {}: name the directory of the container's root",
                  rootfs.native(), resolved == "/" ? "the host's own root" : "a symbolic link");
    return {};
  }

  const std::shared_ptr<SharedBinds> binds_;
  std::string id_;
  fs::path directory_;
  bool made_ = false;
  fs::path root_;
  std::vector<std::string> bound_;
  std::vector<sys::MountInfo> mounts_;  // when it was made
};

}  // namespace

Result<std::unique_ptr<ContainerStorage>> open_container_storage(std::shared_ptr<SharedBinds> binds,
                                                                 const std::string& container_id) {
  auto storage = std::make_unique<SharedStorage>(std::move(binds), container_id);
  KATA_CHECK(storage->make_directory());
  return storage;
}

}  // namespace kata::storage
