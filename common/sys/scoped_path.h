// Paths that others control, resolved inside a root directory only.
//
// `root` is a descriptor of the directory that plays "/": absolute symbolic links and ".." stay
// below it and links of /proc (magic links) are refused (openat2(2)
// RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS). A path is taken relative to the root whether or not it
// starts with '/'. All calls are safe against somebody who renames or replaces components
// meanwhile: whatever they reach lies below the root. Threading: any thread; no state. Errors name
// the path; codes are those of the errno.
#pragma once

#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/types.h>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::sys {

/// Opens what is there; add O_NOFOLLOW to refuse a link as last component. O_CLOEXEC is implied.
Result<UniqueFd> open_in_root(int root, std::string_view path, int flags, mode_t mode = 0);

/// O_PATH descriptor of the directory, made with its parents where missing (mkdir -p). Dangling
/// links are followed: their target is made, below the root.
Result<UniqueFd> make_dir_in_root(int root, std::string_view path, mode_t mode = 0755);

/// O_PATH descriptor of the file, created empty, with its parents (mode 0755), where missing. What
/// is there already may be of any type but a directory.
Result<UniqueFd> make_file_in_root(int root, std::string_view path, mode_t mode = 0644);

/// The directory that holds the last component, made with its parents where missing, and that
/// component: for mknodat, symlinkat, unlinkat. The component itself is not resolved.
/// InvalidArgument if the path has no last component ("/", "a/..").
struct ParentAndName {
  UniqueFd parent;  // O_PATH
  std::string name;
};
Result<ParentAndName> make_parent_in_root(int root, std::string_view path);

}  // namespace kata::sys
