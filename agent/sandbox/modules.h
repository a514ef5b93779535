// Kernel modules of a guest whose kernel has some: the distribution's. The tuned one has none.
#pragma once

#include <string_view>

#include "common/error/error.h"

namespace kata::sandbox {

// A list that does not exist means a kernel that has all of it built in. Errors name the module.

/// What every pod needs, in order: /etc/kata/modules of the guest image.
Status load_boot_modules();

/// What only some do, with all that it needs: /etc/kata/modules.d/<name>. Again is harmless. Any
/// thread. InvalidArgument: not a module's name.
Status load_module_on_demand(std::string_view name);

}  // namespace kata::sandbox
