// The directory tree that a pod's VM sees through virtiofs.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "common/sys/async.h"
#include "common/sys/pidfd.h"
#include "runtime/hypervisor/device.h"

namespace kata::storage {

/// A served share. Used on one executor. Destroying it ends its server without waiting.
class Share {
 public:
  virtual ~Share() = default;

  virtual const hypervisor::Device& device() const = 0;

  /// Host directory whose content the guest sees. Mounts made below it appear in the guest.
  virtual const std::filesystem::path& root() const = 0;

  /// The server's process, for the persisted state.
  virtual const sys::ProcessIdentity& server() const = 0;

  /// Completes when the server has ended, with why ("exited with status 1: <its last output>").
  virtual Async<std::string> wait_exit() = 0;

  /// Ends the server; completes when it has gone. Call it after the VM has ended. `was_used`: a VM
  /// had connected, whose end is then the server's own: it is given time for it. Safe to repeat.
  virtual Async<void> stop(bool was_used) = 0;
};

struct VirtiofsdOptions {
  /// The virtiofsd to run; empty: the first of the distributions' places that exists.
  std::filesystem::path daemon;
  /// Directory of the sandbox, 0700; the share is made at <run_dir>/shared, its socket beside it.
  std::filesystem::path run_dir;
  /// never | auto | always (virtio_fs_cache).
  std::string cache = "auto";
  std::string tag;
};

/// Makes <run_dir>/shared a mount of its own with shared propagation (so that later mounts reach
/// virtiofsd's mount namespace) and starts virtiofsd on a socket that is listening when this
/// returns. Call it on a thread that lives as long as the process, inside the shim's private mount
/// namespace. NotFound: no virtiofsd; the message says what was looked for and how to install one.
Result<std::unique_ptr<Share>> start_virtiofsd(asio::any_io_executor executor,
                                               const VirtiofsdOptions& options);

/// Where start_virtiofsd() looks, for `kata-runtime check`.
Result<std::filesystem::path> find_virtiofsd(const std::filesystem::path& configured);

}  // namespace kata::storage
