// A directory of an image, copied into a file system that hides it (the option "tmpcopyup").
#pragma once

#include <string_view>

#include "common/error/error.h"

namespace kata::isolation {

/// Everything in `from` to `to`, an empty directory that nobody else sees yet: content with its
/// holes, owners, modes, times, symbolic links as they are, hard links among the copies, device
/// nodes, FIFOs and sockets, extended attributes of files and directories as far as the other file
/// system takes them; also owner, mode, times and attributes of the directory itself. No link is
/// followed. Memory is bounded by what is linked more than once, of which there may be
/// kMaxCopyLinked files, and by the depth, kMaxCopyDepth. Both descriptors may be O_PATH. Errors
/// name the path, which begins with `name`.
Status copy_directory(int from, int to, std::string_view name);

inline constexpr size_t kMaxCopyDepth = 200;
inline constexpr size_t kMaxCopyLinked = 100'000;

}  // namespace kata::isolation
