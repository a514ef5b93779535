// process.apparmorProfile and process.selinuxLabel: what the security modules of the guest's kernel
// call a process from its execve on.
#pragma once

#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

class SecurityLabel {
 public:
  SecurityLabel() = default;

  /// For the calling process, by the guest's own /proc and /sys: before it enters a mount namespace
  /// of a container, whose /proc may be anything. FailedPrecondition, in runc's words: the kernel
  /// does not have the module, or does not use it.
  static Result<SecurityLabel> prepare(const oci::Process& process);

  /// For the next execve, which should be the container's own. NotFound: no such profile is loaded.
  Status apply() const;

 private:
  struct Attribute {
    UniqueFd file;  // below /proc/self/attr
    std::string text;
    std::string failure;  // what has failed when it cannot be written
  };
  std::vector<Attribute> attributes_;
};

}  // namespace kata::isolation
