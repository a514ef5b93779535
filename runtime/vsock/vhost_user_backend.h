// The Backend over our own vhost-user vsock device.
#pragma once

#include <chrono>
#include <memory>
#include <set>
#include <thread>

#include "runtime/vsock/async_socket.h"
#include "runtime/vsock/device.h"
#include "runtime/vsock/vsock.h"

namespace kata::vsock {

/// Talks to its device only through the sockets in run_dir, as any other host process would: the
/// two threads share no state.
class VhostUserBackend : public Backend {
 public:
  static Result<std::unique_ptr<VhostUserBackend>> open(
      asio::any_io_executor executor, const std::filesystem::path& run_dir,
      std::chrono::milliseconds dial_timeout = kDialTimeout);
  VhostUserBackend(const VhostUserBackend&) = delete;
  VhostUserBackend& operator=(const VhostUserBackend&) = delete;
  /// Stops the thread and removes all socket files.
  ~VhostUserBackend() override;

  const hypervisor::Device& device() const override { return device_description_; }
  Async<UniqueFd> dial(uint32_t port) override;
  Result<UniqueFd> listen(uint32_t port) override;
  Async<UniqueFd> accept_from_guest(const UniqueFd& listener) override;

 private:
  VhostUserBackend(asio::any_io_executor executor, DeviceSockets sockets,
                   std::chrono::milliseconds dial_timeout)
      : executor_(std::move(executor)),
        sockets_(std::move(sockets)),
        dial_timeout_(dial_timeout),
        device_description_(hypervisor::VhostUserVsock{sockets_.front_end}) {}

  std::filesystem::path listener_path(uint32_t port) const;

  asio::any_io_executor executor_;
  DeviceSockets sockets_;
  const std::chrono::milliseconds dial_timeout_;
  hypervisor::Device device_description_;
  std::unique_ptr<Device> device_;
  UniqueFd stop_;
  std::thread thread_;
  std::set<uint32_t> listened_ports_;
};

}  // namespace kata::vsock
