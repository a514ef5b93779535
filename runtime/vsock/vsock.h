// Host side of a pod's vsock: one dialer, two back ends (docs/adr: vsock backends).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "common/base/unique_fd.h"
#include "common/sys/async.h"
#include "runtime/hypervisor/device.h"

namespace kata::vsock {

/// Owns the device end of one VM's vsock. Used on one executor.
class Backend {
 public:
  virtual ~Backend() = default;

  /// What the launcher must add to the VM.
  virtual const hypervisor::Device& device() const = 0;

  /// Connects to `port` in the guest: a connected, non-blocking stream socket.
  /// Unavailable: nobody listens there, or the VM is gone. DeadlineExceeded: no answer from the
  /// guest.
  virtual Async<UniqueFd> dial(uint32_t port) = 0;

  /// Listens for connections that the guest makes to `port` of CID 2: a listening, non-blocking
  /// socket (AF_UNIX or AF_VSOCK) on which the caller accepts. Closing it ends the offer.
  /// On AF_VSOCK the caller must check the peer's CID: use accept_from_guest().
  virtual Result<UniqueFd> listen(uint32_t port) = 0;

  /// Accepts one connection from this VM's guest on a socket from listen(); connections of other
  /// peers are closed and ignored. Non-blocking stream socket.
  virtual Async<UniqueFd> accept_from_guest(const UniqueFd& listener) = 0;
};

/// Our own vhost-user vsock device on a thread of this process. Creates, in `run_dir` (0700, short
/// path): vhost-vsock.sock (QEMU connects), vsock.sock (CONNECT <port> convention of Firecracker's
/// and Cloud Hypervisor's hybrid vsock) and, per listen(), vsock.sock_<port>. All are removed by
/// the destructor, which also stops the thread.
Result<std::unique_ptr<Backend>> open_vhost_user(asio::any_io_executor executor,
                                                 const std::filesystem::path& run_dir);

/// The host kernel's vhost-vsock: opens /dev/vhost-vsock and claims a free guest CID.
/// NotFound when the device does not exist.
Result<std::unique_ptr<Backend>> open_kernel(asio::any_io_executor executor);

/// open_kernel() where /dev/vhost-vsock exists, else open_vhost_user().
Result<std::unique_ptr<Backend>> open_best(asio::any_io_executor executor,
                                           const std::filesystem::path& run_dir);

}  // namespace kata::vsock
