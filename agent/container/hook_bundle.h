// The bundle as createContainer hooks find it: at the path that it has on the host, with the
// specification and the container's root in it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::container {

/// Exists as long as the object; the directories above stay.
class HookBundle {
 public:
  /// `bundle` is a path of the host, which names nothing of the guest's. `root_path` is root.path
  /// of the specification: a link there leads to `rootfs`. AlreadyExists: something is there.
  static Result<std::unique_ptr<HookBundle>> make(const std::filesystem::path& bundle,
                                                  std::string_view spec_json,
                                                  const std::filesystem::path& root_path,
                                                  const std::filesystem::path& rootfs);
  HookBundle(const HookBundle&) = delete;
  HookBundle& operator=(const HookBundle&) = delete;
  ~HookBundle();

 private:
  HookBundle() = default;
  Status make_all(const std::filesystem::path& bundle, std::string_view spec_json,
                  const std::filesystem::path& root_path, const std::filesystem::path& rootfs);

  std::filesystem::path directory_;  // empty: not made
  std::filesystem::path link_;       // the same
};

}  // namespace kata::container
