#include "agent/isolation/rootfs.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/sys/mount.h"

namespace kata::isolation {

namespace {

Result<UniqueFd> open_dir(const std::string& path) {
  UniqueFd dir(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return fail_call(fmt::format("open {}", path));
  return dir;
}

}  // namespace

Status make_root_pivotable() {
  KATA_TRY(auto root, open_dir("/"));
  KATA_TRY(auto clone, sys::clone_mount(root.get(), false));
  KATA_CHECK(sys::attach_mount(clone.get(), root.get()));
  if (::fchdir(clone.get()) < 0) return fail_call("chdir to the new root");
  if (::chroot(".") < 0) return fail_call("chroot to the new root");
  return {};
}

sys::MountOptions::Propagation inherited_propagation(const oci::Spec& spec) {
  const auto& wanted = spec.linux.rootfs_propagation;
  bool cut_off =
      wanted.find("private") != std::string::npos || wanted.find("unbindable") != std::string::npos;
  return {cut_off ? uint64_t{MS_PRIVATE} : uint64_t{MS_SLAVE}, true};
}

Result<UniqueFd> take_rootfs(const oci::Spec& spec, const std::string& rootfs) {
  KATA_TRY(auto guest_root, open_dir("/"));
  KATA_CHECK(sys::set_propagation(guest_root.get(), inherited_propagation(spec)));
  KATA_TRY(auto directory, open_dir(rootfs));
  // Recursive: the host may have mounts inside of the container's root.
  KATA_TRY(auto clone, sys::clone_mount(directory.get(), true));
  KATA_CHECK(sys::attach_mount(clone.get(), directory.get()));
  return clone;
}

Status take_prepared_rootfs(const oci::Spec& spec, int prepared) {
  KATA_TRY(auto guest_root, open_dir("/"));
  KATA_CHECK(sys::set_propagation(guest_root.get(), inherited_propagation(spec)));
  return sys::attach_mount(prepared, guest_root.get());
}

Result<UniqueFd> clone_rootfs(const oci::Spec& spec, const std::string& rootfs) {
  KATA_TRY(auto directory, open_dir(rootfs));
  KATA_TRY(auto clone, sys::clone_mount(directory.get(), true));
  KATA_CHECK(sys::set_propagation(clone.get(), inherited_propagation(spec)));
  return clone;
}

Status pivot_into(int rootfs) {
  KATA_TRY(auto old_root, open_dir("/"));
  if (::fchdir(rootfs) < 0) return fail_call("chdir to rootfs");
  // With "." twice the old root comes to lie on the new one: no directory for it is needed.
  if (::syscall(SYS_pivot_root, ".", ".") < 0)
    return fail_call("pivot_root (was the guest's root made pivotable at boot?)");
  if (::fchdir(old_root.get()) < 0) return fail_call("chdir to old root");
  if (::umount2(".", MNT_DETACH) < 0) return fail_call("umount old root");
  if (::chdir("/") < 0) return fail_call("chdir /");
  return {};
}

Status finish_root(const oci::Spec& spec) {
  KATA_TRY(auto root, open_dir("/"));
  if (!spec.linux.rootfs_propagation.empty()) {
    KATA_TRY(auto propagation, sys::parse_propagation(spec.linux.rootfs_propagation));
    KATA_CHECK(sys::set_propagation(root.get(), propagation));
  }
  if (!spec.root.readonly) return {};
  auto status = sys::set_mount_attributes(root.get(), MOUNT_ATTR_RDONLY, 0, false);
  if (!status)
    return std::unexpected(status.error().with_stage("error setting rootfs as readonly"));
  return {};
}

}  // namespace kata::isolation
