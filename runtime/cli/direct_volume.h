// kata-runtime direct-volume: what CSI drivers call for volumes that the guest is to mount.
#pragma once

#include <string>

namespace kata::cli {

// Each says why not, and answers the exit status.

int run_direct_volume_add(const std::string& volume_path, const std::string& mount_info);
int run_direct_volume_remove(const std::string& volume_path);

}  // namespace kata::cli
