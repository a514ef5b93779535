// Mounting from fstab-like options, on the host (rootfs mounts of containerd) and in the guest.
//
// Built on the mount API of Linux 5.12 (open_tree, fsopen, mount_setattr, move_mount): a mount is
// finished while still detached and appears at its target complete, with all its flags.
// Threading: any thread. Errors: the code of the errno; the message names type, target and option,
// and the kernel's own explanation where there is one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::sys {

/// Options sorted by what applies them. What is in no table goes to the file system; "defaults",
/// "silent", "acl", "iversion" and their opposites do nothing in a kernel with this API.
struct MountOptions {
  bool bind = false;
  bool bind_recursive = false;
  uint64_t attr_set = 0;  // MOUNT_ATTR_* of this mount
  uint64_t attr_clear = 0;
  uint64_t recursive_attr_set = 0;  // of this mount and all below: "rro", "rnosuid"…
  uint64_t recursive_attr_clear = 0;
  struct Propagation {
    uint64_t type = 0;  // MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE
    bool recursive = false;
  };
  std::vector<Propagation> propagation;
  std::vector<std::string> superblock;  // "sync", "lazytime"…: flags of the file system itself
  std::vector<std::string> data;        // the file system's own, "key=value" or "key"
  bool copy_up = false;                 // "tmpcopyup": the caller's business, see make_mount()
  bool id_mapped = false;               // "idmap", "ridmap": likewise, see map_ids()
  bool id_mapped_tree = false;          // "ridmap"
  std::string unsupported;              // one that is refused: "remount"
};

/// The later of two contradictory options wins. Never fails: unknown options are data.
MountOptions parse_mount_options(std::span<const std::string> options);

/// The MS_* propagation a word names ("rshared", "private"…); InvalidArgument otherwise.
Result<MountOptions::Propagation> parse_propagation(std::string_view word);

struct MountEntry {
  std::string type;  // ignored if the options ask for a bind
  std::string source;
  std::string target;
  std::vector<std::string> options;
};

/// Mounts on the file or directory that `target` (O_PATH will do) refers to; entry.target is for
/// messages only. A bind follows links in its source and keeps those flags of it that no option
/// names; superblock flags and data do not apply to it and are ignored, as mount(8) does.
/// overlay: lowerdir data longer than a page is passed by descriptors instead of paths; what is too
/// long even so is InvalidArgument. Options that cannot be honoured are Unimplemented.
Status mount_on(const MountEntry& entry, int target);

/// The same at entry.target, which exists and is trusted.
Status mount(const MountEntry& entry);

/// In order. On a failure what was mounted is unmounted again.
Status mount_all(std::span<const MountEntry> entries);

/// What mount_on() would attach, for attach_mount(); "tmpcopyup", "idmap" and "ridmap", which
/// mount_on() refuses, are left to the caller. `inherited` is what the mount's propagation is where
/// the options name none; without it that of a bind's source. Options that only mount(2) takes are
/// Unimplemented.
Result<UniqueFd> make_mount(const MountEntry& entry,
                            std::optional<MountOptions::Propagation> inherited = {});

/// A detached clone of the mount (tree) at `source`, for attach_mount(). An unattached one vanishes
/// with its descriptor.
Result<UniqueFd> clone_mount(int source, bool recursive);
Status attach_mount(int mount, int target);

/// mount_setattr(2) on the mount that `fd` refers to.
Status set_mount_attributes(int fd, uint64_t set, uint64_t clear, bool recursive);
Status set_propagation(int fd, MountOptions::Propagation propagation);
/// Ids on the detached mount (tree) `fd` are shown as the user namespace maps them. `type`: of the
/// file system, for messages; empty: that of what is bound. Unimplemented, with the file system's
/// name: the kernel cannot do so there.
Status map_ids(int fd, int user_namespace, bool recursive, std::string_view type = {});

/// umount2(2) of the topmost mount at `target`, not following a link. NotFound if there is none.
Status unmount(const std::filesystem::path& target, bool detach = false);
/// Unmounts everything that is mounted at `target`, however many layers; fine if there is none.
Status unmount_all_at(const std::filesystem::path& target, bool detach = false);
/// Detaches what is mounted below `directory`, not at it; fine if there is nothing. Mount points
/// with spaces or control characters are left alone.
Status detach_all_below(const std::filesystem::path& directory);

}  // namespace kata::sys
