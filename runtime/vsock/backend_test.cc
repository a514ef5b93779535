#include <deque>
#include <thread>

#include <catch2/catch.hpp>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/vsock/kernel_backend.h"
#include "runtime/vsock/test_guest.h"
#include "runtime/vsock/vhost_user_backend.h"
#include "runtime/vsock/vsock.h"

namespace kata::vsock::testing {
namespace {

/// Runs one coroutine to its end.
template <typename T>
Result<T> run(asio::io_context& context, Async<T> work) {
  std::optional<Result<T>> result;
  asio::co_spawn(context, std::move(work), [&result](std::exception_ptr error, Result<T> value) {
    if (error) std::rethrow_exception(error);
    result.emplace(std::move(value));
  });
  context.restart();
  context.run_for(kDeadline);
  REQUIRE(result.has_value());
  return std::move(*result);
}

std::filesystem::path front_end_socket(const Backend& backend) {
  return std::get<hypervisor::VhostUserVsock>(backend.device()).socket;
}

/// A kernel whose guest is a socket pair.
class FakeKernel : public VsockKernel {
 public:
  Result<UniqueFd> open_device() override {
    if (!exists) return fail(Code::kNotFound, "no device");
    return UniqueFd(::eventfd(0, EFD_CLOEXEC));
  }
  Status set_guest_cid(const UniqueFd&, uint32_t cid) override {
    tried.push_back(cid);
    if (tried.size() <= taken) return fail(Code::kAlreadyExists, "taken");
    return claim;
  }
  Result<UniqueFd> connect(uint32_t cid, uint32_t port) override {
    connected = {cid, port};
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    guest_end.reset(ends[1]);
    return UniqueFd(ends[0]);
  }
  int connect_result(int) override { return connect_error; }
  Result<UniqueFd> listen(uint32_t) override { return UniqueFd(::eventfd(1, EFD_CLOEXEC)); }
  std::expected<Accepted, int> accept(int) override {
    if (peers.empty()) return std::unexpected(EMFILE);
    const uint32_t cid = peers.front();
    peers.pop_front();
    return Accepted{UniqueFd(::eventfd(cid, EFD_CLOEXEC)), cid};
  }

  bool exists = true;
  size_t taken = 0;
  Status claim{};
  std::vector<uint32_t> tried;
  std::pair<uint32_t, uint32_t> connected;
  UniqueFd guest_end;
  int connect_error = 0;
  std::deque<uint32_t> peers;
};

struct KernelRig {
  asio::io_context context;
  FakeKernel* kernel = nullptr;
  std::unique_ptr<KernelBackend> backend;

  KernelRig() {
    auto fake = std::make_unique<FakeKernel>();
    kernel = fake.get();
    kernel->taken = 2;
    auto opened = KernelBackend::open(context.get_executor(), std::move(fake));
    REQUIRE(opened);
    backend = std::move(*opened);
  }
  uint32_t cid() const { return std::get<hypervisor::KernelVsock>(backend->device()).guest_cid; }
};

}  // namespace

TEST_CASE("vsock backend: dial") {
  const TempDir dir;
  asio::io_context context;
  auto backend = open_vhost_user(context.get_executor(), dir.path());
  REQUIRE(backend);
  SECTION("without a VM") {
    auto dialled = run(context, (*backend)->dial(1024));
    REQUIRE_FALSE(dialled);
    CHECK(dialled.error().code() == Code::kUnavailable);
  }
  SECTION("somebody listens") {
    TestGuest guest(front_end_socket(**backend));
    guest.start();
    std::thread kernel([&] {
      const Packet request = guest.expect(VsockOp::kRequest);
      guest.send(VsockOp::kResponse, request.header.dst_port, request.header.src_port);
      guest.send(VsockOp::kRw, request.header.dst_port, request.header.src_port, "welcome");
    });
    auto dialled = run(context, (*backend)->dial(1024));
    kernel.join();
    REQUIRE(dialled);
    CHECK(read_exactly(dialled->get(), 7) == "welcome");
  }
  SECTION("nobody listens") {
    TestGuest guest(front_end_socket(**backend));
    guest.start();
    std::thread kernel([&] {
      const Packet request = guest.expect(VsockOp::kRequest);
      guest.send(VsockOp::kRst, request.header.dst_port, request.header.src_port);
    });
    auto dialled = run(context, (*backend)->dial(1024));
    kernel.join();
    REQUIRE_FALSE(dialled);
    CHECK(dialled.error().code() == Code::kUnavailable);
    CHECK_THAT(dialled.error().message(), Catch::Contains("1024"));
  }
  SECTION("the guest does not answer") {
    backend->reset();
    auto impatient =
        VhostUserBackend::open(context.get_executor(), dir.path(), std::chrono::milliseconds(50));
    REQUIRE(impatient);
    TestGuest guest(front_end_socket(**impatient));
    guest.start();
    auto dialled = run(context, (*impatient)->dial(1024));
    REQUIRE_FALSE(dialled);
    CHECK(dialled.error().code() == Code::kDeadlineExceeded);
  }
}

TEST_CASE("vsock backend: listen and accept") {
  const TempDir dir;
  asio::io_context context;
  auto backend = open_vhost_user(context.get_executor(), dir.path());
  REQUIRE(backend);
  auto listener = (*backend)->listen(1024);
  REQUIRE(listener);
  SECTION("the guest's connection is accepted") {
    TestGuest guest(front_end_socket(**backend));
    guest.start();
    guest.send(VsockOp::kRequest, 99, 1024);
    auto accepted = run(context, (*backend)->accept_from_guest(*listener));
    REQUIRE(accepted);
    guest.expect(VsockOp::kResponse);
    guest.send(VsockOp::kRw, 99, 1024, "READY 1\n");
    CHECK(read_line(accepted->get()) == "READY 1");
  }
  SECTION("a port is offered once, and again when the first offer has ended") {
    auto second = (*backend)->listen(1024);
    REQUIRE_FALSE(second);
    CHECK(second.error().code() == Code::kAlreadyExists);
    listener->reset();
    auto third = (*backend)->listen(1024);
    CHECK(third.has_value());
  }
  SECTION("another process is not the guest") {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      sockaddr_storage address{};
      socklen_t length = sizeof(address);
      ::getsockname(listener->get(), reinterpret_cast<sockaddr*>(&address), &length);
      const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
      ::_exit(::connect(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 ? 0 : 1);
    }
    int status = 1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);
    TestGuest guest(front_end_socket(**backend));
    guest.start();
    guest.send(VsockOp::kRequest, 99, 1024);
    auto accepted = run(context, (*backend)->accept_from_guest(*listener));
    REQUIRE(accepted);
    guest.expect(VsockOp::kResponse);
    write_all(accepted->get(), "you");
    CHECK(guest.expect(VsockOp::kRw).payload == "you");
  }
}

TEST_CASE("vsock backend: leaves nothing behind") {
  const size_t before = count_open_fds();
  const TempDir dir;
  {
    asio::io_context context;
    auto backend = open_best(context.get_executor(), dir.path());
    REQUIRE(backend);
    auto listener = (*backend)->listen(1);
    REQUIRE(listener);
  }
  CHECK(std::filesystem::is_empty(dir.path()));
  CHECK(count_open_fds() == before);
}

TEST_CASE("vsock backend: a run directory whose path is too long is refused by name") {
  const TempDir dir;
  asio::io_context context;
  const auto deep = dir.path() / std::string(100, 'd');
  std::filesystem::create_directory(deep);
  auto backend = open_vhost_user(context.get_executor(), deep);
  REQUIRE_FALSE(backend);
  CHECK(backend.error().code() == Code::kInvalidArgument);
  CHECK(std::filesystem::is_empty(deep));
}

TEST_CASE("vsock kernel backend: claims a free CID") {
  KernelRig rig;
  CHECK(rig.kernel->tried.size() == 3);
  CHECK(rig.cid() == rig.kernel->tried.back());
  for (uint32_t cid : rig.kernel->tried) CHECK((cid >= 3 && cid < UINT32_MAX));
  CHECK(std::get<hypervisor::KernelVsock>(rig.backend->device()).vhost_fd >= 0);
}

TEST_CASE("vsock kernel backend: errors of the device") {
  asio::io_context context;
  auto fake = std::make_unique<FakeKernel>();
  SECTION("none") {
    fake->exists = false;
    auto opened = KernelBackend::open(context.get_executor(), std::move(fake));
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code() == Code::kNotFound);
  }
  SECTION("no CID is free") {
    fake->taken = SIZE_MAX;
    auto opened = KernelBackend::open(context.get_executor(), std::move(fake));
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code() == Code::kResourceExhausted);
  }
  SECTION("the claim is refused") {
    fake->claim = fail(Code::kPermissionDenied, "no");
    auto opened = KernelBackend::open(context.get_executor(), std::move(fake));
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code() == Code::kPermissionDenied);
  }
}

TEST_CASE("vsock kernel backend: dial") {
  KernelRig rig;
  SECTION("connected") {
    auto dialled = run(rig.context, rig.backend->dial(1024));
    REQUIRE(dialled);
    CHECK(rig.kernel->connected == std::pair<uint32_t, uint32_t>(rig.cid(), 1024));
    write_all(rig.kernel->guest_end.get(), "hi");
    CHECK(read_exactly(dialled->get(), 2) == "hi");
  }
  SECTION("refused") {
    rig.kernel->connect_error = ECONNRESET;
    auto dialled = run(rig.context, rig.backend->dial(1024));
    REQUIRE_FALSE(dialled);
    CHECK(dialled.error().code() == Code::kUnavailable);
  }
  SECTION("no answer") {
    rig.kernel->connect_error = ETIMEDOUT;
    auto dialled = run(rig.context, rig.backend->dial(1024));
    REQUIRE_FALSE(dialled);
    CHECK(dialled.error().code() == Code::kDeadlineExceeded);
  }
}

TEST_CASE("vsock kernel backend: accepts only its own guest") {
  KernelRig rig;
  auto listener = rig.backend->listen(1024);
  REQUIRE(listener);
  rig.kernel->peers = {2, rig.cid() ^ 1, rig.cid(), 2};
  auto accepted = run(rig.context, rig.backend->accept_from_guest(*listener));
  REQUIRE(accepted);
  uint64_t cid = 0;
  REQUIRE(::read(accepted->get(), &cid, sizeof(cid)) == sizeof(cid));
  CHECK(cid == rig.cid());
  // The next peer is foreign, then the process is out of descriptors.
  auto failed = run(rig.context, rig.backend->accept_from_guest(*listener));
  REQUIRE_FALSE(failed);
}

TEST_CASE("vsock kernel backend: the host's own vhost-vsock") {
  if (::access("/dev/vhost-vsock", F_OK) != 0) {
    WARN("skipped: this host has no /dev/vhost-vsock");
    asio::io_context context;
    auto opened = open_kernel(context.get_executor());
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code() == Code::kNotFound);
    return;
  }
  asio::io_context context;
  auto first = open_kernel(context.get_executor());
  auto second = open_kernel(context.get_executor());
  REQUIRE(first);
  REQUIRE(second);
  CHECK(std::get<hypervisor::KernelVsock>((*first)->device()).guest_cid !=
        std::get<hypervisor::KernelVsock>((*second)->device()).guest_cid);
}

}  // namespace kata::vsock::testing
