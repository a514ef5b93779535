#include "runtime/storage/container_storage.h"

#include <algorithm>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>

#include "common/sys/loop.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

class SharedStorage : public ContainerStorage {
 public:
  SharedStorage(const fs::path& share_root, std::string id)
      : id_(std::move(id)), directory_(share_root / id_) {}

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
    if (mounts.empty()) {
      KATA_CHECK(check_bundle_rootfs(bundle_rootfs));
      sys::MountEntry bundle;
      bundle.source = bundle_rootfs;
      bundle.options = {"rbind"};
      mounts.push_back(std::move(bundle));
    }
    for (sys::MountEntry& entry : mounts) entry.target = target;
    KATA_TRY(const std::vector<sys::LoopDevice> loops, attach_loops(mounts));
    mounted_.push_back(target);
    if (auto mounted = sys::mount_all(mounts); !mounted)
      return std::unexpected(mounted.error().with_stage("storage: mount the container's root"));
    return id_ + "/rootfs";
  }

  Result<std::string> bind(const fs::path& source, BindOptions options) override {
    struct stat info {};
    if (stat(source.c_str(), &info) != 0)
      return fail_errno(fmt::format("storage: bind mount of {}", source.native()));
    fs::path target = directory_ / fmt::format("mount-{}", mounted_.size());
    KATA_CHECK(make_bind_target(target, S_ISDIR(info.st_mode)));
    mounted_.push_back(target);
    sys::MountEntry entry;
    entry.source = source;
    entry.target = target;
    // A mount that need not be in the container stays away from virtiofsd, too, which would keep
    // the host from unmounting it.
    entry.options = {options.recursive ? "rbind" : "bind",
                     options.follows_host ? "rslave" : "rprivate"};
    if (options.read_only) entry.options.push_back("ro");
    if (auto bound = sys::mount(entry); !bound)
      return std::unexpected(bound.error().with_stage("storage"));
    return id_ + "/" + target.filename().native();
  }

  Status remove() override {
    Status first_failure;
    auto note = [&first_failure](const Status& status) {
      if (!status && first_failure) first_failure = status;
    };
    while (!mounted_.empty()) {
      note(detach_all_at(mounted_.back()));
      std::error_code error;
      // Never remove_all: if something is still mounted its content is not ours to delete.
      fs::remove(mounted_.back(), error);
      mounted_.pop_back();
    }
    if (made_ && rmdir(directory_.c_str()) != 0 && errno != ENOENT)
      note(fail_errno(fmt::format("storage: remove {}", directory_.native())));
    made_ = false;
    return first_failure;
  }

 private:
  /// Detached, not just unmounted: virtiofsd holds descriptors of what the guest has cached, which
  /// makes a plain umount answer EBUSY although nobody uses the files any more.
  static Status detach_all_at(const fs::path& target) {
    while (true) {
      auto unmounted = sys::unmount(target, /*detach=*/true);
      if (unmounted) continue;
      if (unmounted.error().code() == Code::kNotFound) return {};
      return unmounted;
    }
  }

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

  static Status make_bind_target(const fs::path& target, bool directory) {
    if (directory) {
      if (mkdir(target.c_str(), 0755) == 0) return {};
    } else {
      UniqueFd file(open(target.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
      if (file) return {};
    }
    return fail_errno(fmt::format("storage: create {}", target.native()));
  }

  std::string id_;
  fs::path directory_;
  bool made_ = false;
  std::vector<fs::path> mounted_;
};

}  // namespace

Result<std::unique_ptr<ContainerStorage>> open_container_storage(const fs::path& share_root,
                                                                 const std::string& container_id) {
  auto storage = std::make_unique<SharedStorage>(share_root, container_id);
  KATA_CHECK(storage->make_directory());
  return storage;
}

}  // namespace kata::storage
