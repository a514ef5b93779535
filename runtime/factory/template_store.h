// Templates: booted guests that were saved, each for one way to start a VM. A pod's VM continues
// from a private copy of one instead of booting.
//
// On disk, for each recipe: <root>/<key>/ with `memory` (the guest's RAM, sparse), `device_state`
// (QEMU's migration stream without RAM) and `manifest.json`, which is valid only together with
// unchanged files of the recipe; <root>/<key>.lock, held while a template is made. All 0700 and
// 0600: a template is the memory of a kernel from which others will start.
//
// Processes share a root; threads do not share a TemplateStore. All calls block on the file system.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::factory {

/// What a template depends on.
struct Recipe {
  /// The program that runs the VM and the files from which it boots: any change of their content
  /// makes a template stale.
  std::vector<std::filesystem::path> files;
  /// All else that shapes the VM, in any unambiguous form.
  std::string settings;
};

/// Open for reading; stays whole when the template is replaced meanwhile.
struct SavedVm {
  UniqueFd memory;
  UniqueFd device_state;
};

/// A template that is being made. Removed by the destructor unless it was published.
class Draft {
 public:
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  ~Draft();

  /// Files to write to, empty at first.
  int memory() const { return memory_.get(); }
  int device_state() const { return device_state_.get(); }

  /// From here on open() finds it. FailedPrecondition: a file of the recipe has changed meanwhile.
  Status publish();

  /// Instead: open() answers FailedPrecondition with `why` until a file of the recipe changes or
  /// the templates are removed, so that not every pod tries, and waits, again.
  Status publish_failure(const std::string& why);

 private:
  friend class TemplateStore;
  Draft() = default;

  Recipe recipe_;
  std::string manifest_;
  std::filesystem::path directory_;  // being written; empty once published
  std::filesystem::path target_;
  UniqueFd lock_;
  UniqueFd memory_;
  UniqueFd device_state_;
};

struct TemplateInfo {
  std::filesystem::path directory;
  uint64_t memory_bytes = 0;  // that the file system holds
  /// Why there is none, when the last attempt to make it failed; else empty.
  std::string failure;
};

class TemplateStore {
 public:
  explicit TemplateStore(std::filesystem::path root) : root_(std::move(root)) {}

  /// NotFound: there is none, or a stale or a damaged one. FailedPrecondition: the last attempt to
  /// make it with these files failed (the message says how to have another). PermissionDenied: the
  /// root is not ours alone.
  Result<SavedVm> open(const Recipe& recipe) const;

  /// Unavailable: another process is making it right now.
  Result<std::shared_ptr<Draft>> begin(const Recipe& recipe) const;

  /// Empty when there is no root.
  Result<std::vector<TemplateInfo>> list() const;
  /// Every template, and nothing else that is there; a VM that has started from one is not touched.
  /// Unavailable: one is being made right now, it is left alone.
  Status remove_all() const;

 private:
  std::filesystem::path directory_of(const Recipe& recipe) const;

  std::filesystem::path root_;
};

}  // namespace kata::factory
