// Hooks of a container that run on the host: prestart, createRuntime, poststart, poststop.
//
// A hook gets what config.json says and nothing of the shim's: no environment, no descriptor. It
// runs in the host's mount and network namespaces, in the bundle, in a session of its own, with the
// container's state on its stdin; the end of what it writes is kept for messages. One that runs
// past its timeout is killed with its process group.
#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/oci/hooks.h"
#include "common/sys/async.h"
#include "common/sys/subprocess.h"

namespace kata::sandbox {

/// Descriptors of the namespaces that containerd lives in, borrowed. -1: the caller's own.
struct HostNamespaces {
  int mount = -1;
  int network = -1;
};

/// Hooks of one kind, and what they are told.
struct HookCall {
  std::string kind;  // as in config.json
  std::vector<oci::Hook> hooks;
  oci::State state;
};

/// Used on one executor, and from a thread that lives as long as the process (see subprocess.h).
/// Outlives its calls.
class HookRunner {
 public:
  HookRunner(asio::any_io_executor executor, HostNamespaces host)
      : executor_(std::move(executor)), host_(host) {}
  HookRunner(const HookRunner&) = delete;
  HookRunner& operator=(const HookRunner&) = delete;

  /// One after the other, up to the first that fails: its error names kind, index and path.
  Async<void> run(HookCall call);
  /// All of them; failures are logged.
  asio::awaitable<void> run_and_log(HookCall call);
  /// Kills what runs now, for the end of the sandbox: the calls fail, and so do all later ones.
  void kill_all();

 private:
  struct Run;
  Async<void> run_one(std::string kind, size_t index, oci::Hook hook, oci::State state);

  asio::any_io_executor executor_;
  HostNamespaces host_;
  std::set<std::shared_ptr<Run>> running_;
  bool stopped_ = false;
};

/// Notes in the bundle that the container's poststop hooks are still to run, for a `delete` after
/// the end of the shim.
Status note_poststop(const std::filesystem::path& bundle);
/// Takes the note away. True for one caller alone, of this process or another: who runs the hooks.
bool claim_poststop(const std::filesystem::path& bundle);

/// For a container whose shim has gone: its poststop hooks, if they are still to run. In the
/// caller's namespaces.
asio::awaitable<void> run_noted_poststop(std::filesystem::path bundle, std::string id);

}  // namespace kata::sandbox
