#include "runtime/vsock/kernel_backend.h"

#include <cerrno>

#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "runtime/vsock/async_socket.h"

namespace kata::vsock {
namespace {

constexpr const char* kDevice = "/dev/vhost-vsock";
/// VHOST_VSOCK_SET_GUEST_CID of <linux/vhost.h>, which does not compile as C++.
constexpr unsigned long kSetGuestCid = _IOW(0xAF, 0x60, uint64_t);
/// CIDs 0 to 2 and the last number have meanings of their own (vsock(7)).
constexpr uint32_t kFirstGuestCid = 3;
constexpr uint32_t kGuestCidCount = VMADDR_CID_ANY - kFirstGuestCid;
/// Of four billion CIDs a few are taken; a second try is rare already.
constexpr int kCidTries = 32;
constexpr int kBacklog = 128;

class RealVsockKernel : public VsockKernel {
 public:
  Result<UniqueFd> open_device() override {
    UniqueFd device(::open(kDevice, O_RDWR | O_CLOEXEC));
    if (device) return device;
    // A device node whose module is missing is no vhost-vsock either.
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
      return fail(Code::kNotFound, "{} does not exist: load the module vhost_vsock", kDevice);
    }
    return fail_errno(fmt::format("open {}", kDevice));
  }

  Status set_guest_cid(const UniqueFd& device, uint32_t cid) override {
    const uint64_t wide = cid;
    if (::ioctl(device.get(), kSetGuestCid, &wide) == 0) return {};
    if (errno == EADDRINUSE) return fail(Code::kAlreadyExists, "guest CID {} is in use", cid);
    return fail_errno(fmt::format("claim guest CID {}", cid));
  }

  Result<UniqueFd> connect(uint32_t cid, uint32_t port) override {
    UniqueFd socket(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return fail_errno("create an AF_VSOCK socket");
    const sockaddr_vm address = make_address(cid, port);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
            0 &&
        errno != EINPROGRESS) {
      return fail(Code::kUnavailable, "connect to vsock port {} of guest {}: {}", port, cid,
                  ::strerrordesc_np(errno));
    }
    return socket;
  }

  int connect_result(int socket) override {
    int error = 0;
    socklen_t length = sizeof(error);
    if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
    return error;
  }

  Result<UniqueFd> listen(uint32_t port) override {
    UniqueFd socket(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return fail_errno("create an AF_VSOCK socket");
    const sockaddr_vm address = make_address(VMADDR_CID_ANY, port);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      if (errno == EADDRINUSE) {
        return fail(Code::kAlreadyExists,
                    "vsock port {} of the host is in use: all VMs share the host's ports", port);
      }
      return fail_errno(fmt::format("bind vsock port {}", port));
    }
    if (::listen(socket.get(), kBacklog) != 0) return fail_errno("listen on a vsock port");
    return socket;
  }

  std::expected<Accepted, int> accept(int listener) override {
    sockaddr_vm peer{};
    socklen_t length = sizeof(peer);
    UniqueFd socket(::accept4(listener, reinterpret_cast<sockaddr*>(&peer), &length,
                              SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) return std::unexpected(errno);
    return Accepted{std::move(socket), peer.svm_cid};
  }

 private:
  static sockaddr_vm make_address(uint32_t cid, uint32_t port) {
    sockaddr_vm address{};
    address.svm_family = AF_VSOCK;
    address.svm_cid = cid;
    address.svm_port = port;
    return address;
  }
};

Result<uint32_t> claim_cid(VsockKernel& kernel, const UniqueFd& device) {
  for (int i = 0; i < kCidTries; ++i) {
    uint32_t random = 0;
    if (::getrandom(&random, sizeof(random), 0) != sizeof(random)) return fail_errno("getrandom");
    const uint32_t cid = kFirstGuestCid + random % kGuestCidCount;
    Status claimed = kernel.set_guest_cid(device, cid);
    if (claimed) return cid;
    if (claimed.error().code() != Code::kAlreadyExists) return std::unexpected(claimed.error());
  }
  return fail(Code::kResourceExhausted, "no free guest CID found in {} tries", kCidTries);
}

}  // namespace

std::unique_ptr<VsockKernel> real_vsock_kernel() { return std::make_unique<RealVsockKernel>(); }

KernelBackend::KernelBackend(asio::any_io_executor executor, std::unique_ptr<VsockKernel> kernel,
                             UniqueFd vhost, uint32_t guest_cid)
    : executor_(std::move(executor)),
      kernel_(std::move(kernel)),
      vhost_(std::move(vhost)),
      guest_cid_(guest_cid),
      device_description_(hypervisor::KernelVsock{guest_cid, vhost_.get()}) {}

Result<std::unique_ptr<KernelBackend>> KernelBackend::open(asio::any_io_executor executor,
                                                           std::unique_ptr<VsockKernel> kernel) {
  KATA_TRY(UniqueFd device, kernel->open_device());
  KATA_TRY(const uint32_t cid, claim_cid(*kernel, device));
  return std::unique_ptr<KernelBackend>(
      new KernelBackend(std::move(executor), std::move(kernel), std::move(device), cid));
}

Async<UniqueFd> KernelBackend::dial(uint32_t port) {
  // A guest that does not answer may keep this waiting beyond the end of its VM, and of this
  // object.
  const std::shared_ptr<VsockKernel> kernel = kernel_;
  const uint32_t guest_cid = guest_cid_;
  KATA_CO_TRY(UniqueFd socket, kernel->connect(guest_cid, port));
  SocketWaiter waiter(executor_, std::move(socket), kDialTimeout);
  Status ready = co_await waiter.wait(SocketWaiter::For::kWritable);
  if (!ready) {
    co_return std::unexpected(
        ready.error().with_stage(fmt::format("connect to vsock port {} of the guest", port)));
  }
  const int error = kernel->connect_result(waiter.fd());
  if (error == 0) co_return waiter.release();
  // The kernel gives up by itself after its own timeout (2 s by default).
  const Code code = error == ETIMEDOUT ? Code::kDeadlineExceeded : Code::kUnavailable;
  co_return fail(code, "connect to vsock port {} of guest {}: {}", port, guest_cid,
                 ::strerrordesc_np(error));
}

Result<UniqueFd> KernelBackend::listen(uint32_t port) { return kernel_->listen(port); }

Async<UniqueFd> KernelBackend::accept_from_guest(const UniqueFd& listener) {
  UniqueFd copy(::fcntl(listener.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) co_return fail_errno("duplicate a vsock listener");
  SocketWaiter waiter(executor_, std::move(copy), std::chrono::milliseconds::zero());
  while (true) {
    auto accepted = kernel_->accept(waiter.fd());
    if (accepted) {
      // Other VMs of this host, and its own processes, can reach the port too.
      if (accepted->peer_cid == guest_cid_) co_return std::move(accepted->socket);
      continue;
    }
    const int error = accepted.error();
    if (error != EAGAIN && error != ECONNABORTED && error != EINTR) {
      co_return fail_errno("accept a vsock connection of the guest", error);
    }
    Status ready = co_await waiter.wait(SocketWaiter::For::kReadable);
    if (!ready) co_return std::unexpected(ready.error());
  }
}

Result<std::unique_ptr<Backend>> open_kernel(asio::any_io_executor executor) {
  KATA_TRY(std::unique_ptr<Backend> backend,
           KernelBackend::open(std::move(executor), real_vsock_kernel()));
  return backend;
}

Result<std::unique_ptr<Backend>> open_best(asio::any_io_executor executor,
                                           const std::filesystem::path& run_dir) {
  auto kernel = open_kernel(executor);
  if (kernel || kernel.error().code() != Code::kNotFound) return kernel;
  return open_vhost_user(std::move(executor), run_dir);
}

}  // namespace kata::vsock
