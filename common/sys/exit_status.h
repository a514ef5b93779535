// How a process has ended.
#pragma once

#include <optional>
#include <string>

namespace kata::sys {

struct ExitStatus {
  /// Set when the process exited by itself.
  std::optional<int> code;
  /// Set when a signal killed it.
  std::optional<int> signal;
  bool success() const { return code == 0; }
};

/// "exited with status 1", "killed by signal 9 (Killed)".
std::string describe(const ExitStatus& status);

/// Reaps the child, waiting for its end. Neither is set when somebody else has reaped it.
ExitStatus reap_child(int pidfd);

}  // namespace kata::sys
