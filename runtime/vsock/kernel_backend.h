// The Backend over the host kernel's vhost-vsock and AF_VSOCK.
#pragma once

#include <cstdint>
#include <memory>

#include "common/base/unique_fd.h"
#include "runtime/vsock/vsock.h"

namespace kata::vsock {

/// The system calls behind the kernel backend; tests put a fake here. All sockets are close-on-exec
/// and non-blocking.
class VsockKernel {
 public:
  struct Accepted {
    UniqueFd socket;
    uint32_t peer_cid = 0;
  };

  virtual ~VsockKernel() = default;

  /// NotFound where the host has no vhost-vsock.
  virtual Result<UniqueFd> open_device() = 0;
  /// AlreadyExists when another VM has the CID.
  virtual Status set_guest_cid(const UniqueFd& device, uint32_t cid) = 0;
  /// A socket that is connecting: writable when that is over.
  virtual Result<UniqueFd> connect(uint32_t cid, uint32_t port) = 0;
  /// How a connecting socket has ended: 0 or an errno value.
  virtual int connect_result(int socket) = 0;
  virtual Result<UniqueFd> listen(uint32_t port) = 0;
  /// The errno value on failure.
  virtual std::expected<Accepted, int> accept(int listener) = 0;
};

std::unique_ptr<VsockKernel> real_vsock_kernel();

class KernelBackend : public Backend {
 public:
  static Result<std::unique_ptr<KernelBackend>> open(asio::any_io_executor executor,
                                                     std::unique_ptr<VsockKernel> kernel);

  const hypervisor::Device& device() const override { return device_description_; }
  Async<UniqueFd> dial(uint32_t port) override;
  Result<UniqueFd> listen(uint32_t port) override;
  Async<UniqueFd> accept_from_guest(const UniqueFd& listener) override;

 private:
  KernelBackend(asio::any_io_executor executor, std::unique_ptr<VsockKernel> kernel, UniqueFd vhost,
                uint32_t guest_cid);

  asio::any_io_executor executor_;
  std::shared_ptr<VsockKernel> kernel_;
  /// Keeps the CID claimed.
  UniqueFd vhost_;
  const uint32_t guest_cid_;
  hypervisor::Device device_description_;
};

}  // namespace kata::vsock
