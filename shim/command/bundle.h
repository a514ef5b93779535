// The bundle directory that containerd makes for a container, as far as the shim's commands care.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include <sys/types.h>

#include "common/error/error.h"

namespace kata::command {

/// What config.json says about the container's, or the pod's, place, read without judging the rest
/// of it.
struct Placement {
  /// "sandbox", "container", or empty outside of CRI: annotation io.kubernetes.cri.container-type,
  /// or CRI-O's io.kubernetes.cri-o.ContainerType.
  std::string container_type;
  /// The pod's; empty outside of CRI: annotation io.kubernetes.cri.sandbox-id, or CRI-O's
  /// io.kubernetes.cri-o.SandboxID.
  std::string sandbox_id;
  /// linux.namespaces, type "network": nullopt without an entry, else its path (may be empty).
  std::optional<std::string> network_namespace;
  std::string hostname;

  /// A container of a sandbox that another shim serves already.
  bool joins_sandbox(const std::string& id) const {
    return !sandbox_id.empty() && sandbox_id != id && container_type != "sandbox";
  }
};

class Bundle {
 public:
  /// An empty directory is the working directory, in which containerd runs the shim.
  explicit Bundle(std::filesystem::path directory)
      : directory_(directory.empty() ? "." : std::move(directory)) {}

  const std::filesystem::path& directory() const { return directory_; }
  /// The fifo from which containerd copies into its own log.
  std::filesystem::path log() const { return directory_ / "log"; }
  std::filesystem::path rootfs() const { return directory_ / "rootfs"; }

  /// Whether containerd's sandbox API made it (2.0 and later), by the directory that it lies in.
  bool is_of_sandbox_controller() const;

  /// Without a config.json an empty one: the sandbox API makes bundles without it.
  /// InvalidArgument: it is no JSON, or one of these has a wrong type.
  Result<Placement> placement() const;

  /// `address`: where containerd finds the shim again after its own restart.
  Status write_address(const std::string& address) const;
  /// The socket there. NotFound: none was written.
  Result<std::filesystem::path> socket() const;
  void remove_address() const;

  /// `shim.pid`.
  Status write_shim_pid(pid_t pid) const;
  /// NotFound: none was written.
  Result<pid_t> shim_pid() const;

  /// `sandbox-dir`: where the sandbox keeps its state, for a `delete` that cannot read the
  /// configuration (any more).
  Status write_sandbox_dir(const std::filesystem::path& run_dir) const;
  Result<std::filesystem::path> sandbox_dir() const;

  /// `runtime-options.toml`: what containerd's own configuration holds of it. Answers its path.
  Result<std::filesystem::path> write_configuration(const std::string& text) const;

 private:
  std::filesystem::path directory_;
};

}  // namespace kata::command
