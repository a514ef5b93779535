#include "runtime/cli/report.h"

#include <algorithm>

#include <fmt/format.h>

namespace kata::cli {
namespace {

constexpr int kSubjectColumns = 15;
constexpr int kVerdictColumns = 8;

std::string_view word(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kWarning:
      return "warning";
    case Verdict::kFailure:
      return "FAILED";
  }
  return "";
}

}  // namespace

std::string render(const std::vector<Finding>& findings) {
  std::string text;
  const std::string indent(kVerdictColumns + kSubjectColumns, ' ');
  for (const Finding& finding : findings) {
    text += fmt::format("{:<{}}{:<{}}{}\n", word(finding.verdict), kVerdictColumns, finding.subject,
                        kSubjectColumns, finding.text);
    for (const std::string& reason : finding.reasons) text += indent + "- " + reason + "\n";
    if (!finding.remedy.empty()) text += indent + "remedy: " + finding.remedy + "\n";
  }
  const auto failures = std::ranges::count(findings, Verdict::kFailure, &Finding::verdict);
  text += failures == 0 ? "A pod can start.\n"
                        : fmt::format("No pod can start: {} {} above.\n", failures,
                                      failures == 1 ? "failure" : "failures");
  return text;
}

bool can_start_pod(const std::vector<Finding>& findings) {
  return std::ranges::count(findings, Verdict::kFailure, &Finding::verdict) == 0;
}

}  // namespace kata::cli
