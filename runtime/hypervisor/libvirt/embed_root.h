// The directory of an embedded libvirt driver: one per VM, because a root serves one process only.
#pragma once

#include <filesystem>
#include <string>

#include "common/error/error.h"

namespace kata::hypervisor {

/// Creates `root` (0700) with a qemu.conf that works without systemd, and with libvirt's cache of
/// QEMU's capabilities shared between all pods (`shared_cache`, created when missing; probing QEMU
/// takes a second). Gives the URI. OutOfRange: libvirt's sockets would get too long a path.
Result<std::string> prepare_embed_root(const std::filesystem::path& root,
                                       const std::filesystem::path& shared_cache);

}  // namespace kata::hypervisor
