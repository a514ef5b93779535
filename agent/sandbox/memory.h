// The guest's memory as a template's size.
#pragma once

#include "common/error/error.h"

namespace kata::sandbox {

/// Drops the caches and fills what is free with zeros: pages that the boot has used and freed still
/// hold its bytes, and zeros need not be saved. Takes as long as writing all free memory once.
Status give_back_memory();

}  // namespace kata::sandbox
