// What `kata-runtime check` found, and how it is shown.
#pragma once

#include <string>
#include <vector>

namespace kata::cli {

enum class Verdict {
  kOk,
  kWarning,  // a pod starts, but not as well as it could
  kFailure,  // no pod starts
};

struct Finding {
  Verdict verdict = Verdict::kOk;
  std::string subject;               // "QEMU"
  std::string text;                  // "/usr/bin/qemu-system-x86_64, version 7.2.22"
  std::vector<std::string> reasons;  // shown below the text
  std::string remedy;                // of what is not ok
};

/// One line per finding, its reasons and remedy indented below, and a last line with the sum.
std::string render(const std::vector<Finding>& findings);

/// Whether nothing failed.
bool can_start_pod(const std::vector<Finding>& findings);

}  // namespace kata::cli
