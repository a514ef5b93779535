// The host's end of the floor of `tools/bench stdio`: starts a VM with nothing but our vsock
// device, and copies what its PID 1 (vsock_floor_init.cc) sends to stdout. No agent, no RPC, no
// containerd.
//
//   vsock-floor DIRECTORY MIB QEMU ARGUMENT…
//
// DIRECTORY, with a short path, is for sockets; the ARGUMENTs are the VM's without the device.

#include "tests/bench/vsock_floor.h"

#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "common/sys/subprocess.h"
#include "runtime/hypervisor/device_rendering.h"
#include "runtime/vsock/vsock.h"

namespace kata::bench {
namespace {

constexpr size_t kChunk = 1 << 20;

struct Arguments {
  std::filesystem::path directory;
  size_t bytes;
  std::vector<std::string> qemu;
};

Result<std::unique_ptr<sys::Subprocess>> start_vm(asio::any_io_executor executor,
                                                  const std::vector<std::string>& qemu,
                                                  const hypervisor::Device& vsock) {
  sys::SubprocessOptions options;
  options.executable = qemu.front();
  options.arguments.assign(qemu.begin() + 1, qemu.end());
  const hypervisor::NameFd name_fd = [&options](int fd) {
    options.passed_fds.push_back(fd);
    return std::to_string(sys::kFirstPassedFd + static_cast<int>(options.passed_fds.size()) - 1);
  };
  KATA_TRY(const hypervisor::RenderedDevice rendered,
           hypervisor::render_device(vsock, "vsock", name_fd));
  if (!rendered.chardev_id.empty()) {
    options.arguments.insert(
        options.arguments.end(),
        {"-chardev", fmt::format("socket,id={},path={}", rendered.chardev_id,
                                 hypervisor::escape_option(rendered.chardev_socket))});
  }
  options.arguments.insert(options.arguments.end(), {"-device", rendered.device.dump()});
  return sys::Subprocess::spawn(executor, options);
}

/// The guest's connection, or why there is none.
Result<UniqueFd> accept(asio::io_context& context, vsock::Backend& backend,
                        const UniqueFd& listener, sys::Subprocess& vm) {
  Result<UniqueFd> connection;
  asio::co_spawn(context, backend.accept_from_guest(listener),
                 [&](std::exception_ptr, Result<UniqueFd> accepted) {
                   connection = std::move(accepted);
                   context.stop();
                 });
  asio::co_spawn(context, vm.wait(), [&](std::exception_ptr, Result<sys::ExitStatus>) {
    connection = fail(Code::kUnavailable, "the VM has ended: {}", vm.output());
    context.stop();
  });
  context.run();
  return connection;
}

Status write_all(std::span<const char> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (written < 0) return fail_errno("write");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status copy(const UniqueFd& source, size_t bytes) {
  // Waiting in read(2) is all there is to do.
  if (::fcntl(source.get(), F_SETFL, 0) != 0) return fail_errno("make the connection blocking");
  std::vector<char> buffer(kChunk);
  while (bytes > 0) {
    const ssize_t got = ::read(source.get(), buffer.data(), std::min(buffer.size(), bytes));
    if (got < 0) return fail_errno("read");
    if (got == 0) return fail(Code::kUnavailable, "the guest has ended {} bytes early", bytes);
    KATA_CHECK(write_all({buffer.data(), static_cast<size_t>(got)}));
    bytes -= static_cast<size_t>(got);
  }
  return {};
}

Status run(const Arguments& arguments) {
  asio::io_context context(1);
  KATA_TRY(auto backend, vsock::open_best(context.get_executor(), arguments.directory));
  KATA_TRY(const UniqueFd listener, backend->listen(kFloorPort));
  KATA_TRY(auto vm, start_vm(context.get_executor(), arguments.qemu, backend->device()));
  KATA_TRY(const UniqueFd connection, accept(context, *backend, listener, *vm));
  return copy(connection, arguments.bytes);
}

}  // namespace
}  // namespace kata::bench

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fputs("usage: vsock-floor DIRECTORY MIB QEMU ARGUMENT...\n", stderr);
    return 2;
  }
  const auto done = kata::bench::run(
      {argv[1], std::strtoul(argv[2], nullptr, 10) << 20, {argv + 3, argv + argc}});
  if (done) return 0;
  std::fprintf(stderr, "vsock-floor: %s\n", done.error().message().c_str());
  return 1;
}
