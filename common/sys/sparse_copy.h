// Copies of memory images, without what is not there.
#pragma once

#include <cstdint>

#include "common/error/error.h"

namespace kata::sys {

/// Copies the first `size_bytes` of `from` to the same places of `to`, which reads as zeros there
/// and is at least as long. Holes (lseek(2), SEEK_DATA) and pages of zeros are left out. Both are
/// regular files or memfds. Blocks. ResourceExhausted: no space. FailedPrecondition: `from` is
/// shorter, or becomes so.
Status copy_sparse(int from, int to, uint64_t size_bytes);

}  // namespace kata::sys
