// The unix socket on which a shim serves its sandbox, named as containerd's own shims name theirs.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "shim/command/bundle.h"

namespace kata::command {

/// containerd's, whatever its own state directory is (defaults.DefaultStateDir + "/s").
inline constexpr const char* kSocketDirectory = "/run/containerd/s";

class ShimSocket {
 public:
  /// <directory>/<SHA-256 of the cleaned path "containerd's address/namespace/sandbox id">.
  ShimSocket(std::string_view containerd_address, std::string_view nspace,
             std::string_view sandbox_id,
             const std::filesystem::path& directory = kSocketDirectory);

  /// The socket that `bundle` says it has, if that can be this shim's by its name: containerd tells
  /// only `start` where sockets belong.
  static ShimSocket of_bundle(std::string_view containerd_address, std::string_view nspace,
                              std::string_view sandbox_id, const Bundle& bundle);

  const std::filesystem::path& path() const { return path_; }
  /// "unix://<path>".
  std::string address() const;

  /// Creates it, mode 0600, and its directory. The socket of a shim that has died is replaced.
  /// AlreadyExists: a shim serves there.
  Result<UniqueFd> listen() const;

  /// Whether a shim accepts connections there.
  bool is_served() const;

  /// One that is not there is no error.
  void remove() const;

 private:
  std::filesystem::path path_;
};

}  // namespace kata::command
