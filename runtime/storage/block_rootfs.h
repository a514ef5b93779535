// Roots that the guest can mount itself: the snapshotter's file systems as disks of the VM, so that
// no file of theirs goes through virtiofs, and the host's kernel parses none of them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/sys/mount.h"

namespace kata::storage {

struct RootDisk {
  /// An image file or a block device of the host.
  std::filesystem::path file;
  bool read_only = false;
  std::string fs_type;
  /// Mount options for the guest, without those that say how the host would have mounted it.
  std::vector<std::string> options;
};

struct BlockRootfs {
  /// Topmost first. Several, or one with directories for what is written, make an overlay.
  std::vector<RootDisk> disks;
  /// A directory of the host that holds the overlay's upper and work directory, and their names in
  /// it; empty: the root is the disk alone, or an overlay that nobody can write to.
  std::filesystem::path writable;
  std::string upper;
  std::string work;
};

/// What the mounts of a snapshotter amount to:
///   one file system on a block device or, with "loop", in a file (containerd's devmapper,
///   blockfile and, for a view, erofs); an overlay whose every lower directory is where the erofs
///   snapshotter has mounted a layer.erofs (containerd: docs/snapshotters/erofs.md; the marker file
///   .erofslayer says so).
/// nullopt: something else, which the host mounts and shares. Looks at files; blocking, any thread.
std::optional<BlockRootfs> find_block_rootfs(const std::vector<sys::MountEntry>& mounts);

}  // namespace kata::storage
