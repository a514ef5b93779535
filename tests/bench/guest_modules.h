// Loading of the kernel modules that guest-image/ put into the initramfs.
#pragma once

namespace kata::bench {

/// Loads those of a list: one path a line, in this order. Where the kernel has everything built in
/// there is no list and nothing to do; what does not load shows when its device is missing.
void load_modules(const char* list);

}  // namespace kata::bench
