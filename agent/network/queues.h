// The queues of the guest's network cards.
#pragma once

#include <cstdint>

#include "common/error/error.h"

namespace kata::network {

/// Has each card of the calling thread's network namespace use so many of its queues, or all if it
/// has fewer: the kernel's driver counts the processors once, when the card comes. Cards that
/// cannot change that are left out. Any thread.
Status use_queues(uint32_t count);

}  // namespace kata::network
