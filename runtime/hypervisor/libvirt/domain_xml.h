// A VmConfig as libvirt's domain XML (https://libvirt.org/formatdomain.html): the same machine that
// command_line.h renders.
#pragma once

#include <string>

#include "common/error/error.h"
#include "runtime/hypervisor/hypervisor.h"

namespace kata::hypervisor {

/// `uuid` in its 36-character form. Unimplemented: a device that has to be passed as a descriptor.
Result<std::string> render_domain_xml(const VmConfig& config, const std::string& domain_name,
                                      const std::string& uuid);

/// Text as content or attribute value of XML 1.0: markup is escaped, characters that XML cannot
/// hold become '?'.
std::string escape_xml(std::string_view text);

}  // namespace kata::hypervisor
