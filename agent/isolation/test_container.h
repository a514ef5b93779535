// Containers for the tests of this folder: a busybox root, a spec to patch, a process that does
// what the agent's init does. Needs root, and /bin/busybox from busybox-static.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include <nlohmann/json.hpp>

#include "common/error/error.h"

namespace kata::isolation::testing {

/// What a run came to. `error` is that of the step that failed; then `status` is -1.
struct Outcome {
  int status = -1;     // as a shell has it
  std::string output;  // stdout and stderr
  std::string error;
  Code code = Code::kUnknown;  // of the error
};

/// A bundle in a temporary directory, removed with the object.
class TestContainer {
 public:
  TestContainer();
  ~TestContainer();
  TestContainer(const TestContainer&) = delete;
  TestContainer& operator=(const TestContainer&) = delete;

  std::filesystem::path rootfs() const { return bundle_ / "rootfs"; }
  std::filesystem::path bundle() const { return bundle_; }

  /// Like `runc spec`, but without a terminal. Patch it before running.
  nlohmann::json spec;

  /// A shell script as the container's process.
  TestContainer& script(const std::string& text);
  TestContainer& args(std::vector<std::string> words);

  /// With our code, in child processes. `as_guest` runs first, in the new mount namespace.
  Outcome run(const std::function<void()>& as_guest = {});
  /// What run_with_runc() shall find, before run() leaves its traces in the root.
  void keep_copy_for_runc();
  /// The same spec with runc. Empty error and status -1 if there is no runc.
  Outcome run_with_runc();
  static bool have_runc();

 private:
  std::filesystem::path bundle_;
};

}  // namespace kata::isolation::testing
