#include <array>
#include <system_error>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "common/log/log.h"
#include "common/sys/subprocess.h"
#include "common/sys/unix_socket.h"
#include "runtime/storage/share.h"

namespace kata::storage {
namespace {

constexpr std::array<const char*, 3> kKnownDaemons = {
    "/usr/libexec/virtiofsd",   // upstream's Rust daemon
    "/usr/lib/qemu/virtiofsd",  // Debian 12: QEMU 7.2's C daemon
    "/usr/lib/virtiofsd",
};

/// Both daemons end by themselves when QEMU has closed its connection; this is for one that hangs.
constexpr std::chrono::seconds kExitGrace{2};

Status make_share_root(const std::filesystem::path& root) {
  if (mkdir(root.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno(fmt::format("share: create {}", root.native()));
  if (mount(root.c_str(), root.c_str(), nullptr, MS_BIND, nullptr) != 0)
    return fail_errno(fmt::format("share: bind {} to itself", root.native()));
  if (mount(nullptr, root.c_str(), nullptr, MS_SHARED, nullptr) != 0) {
    auto error = fail_errno(fmt::format("share: make {} a shared mount", root.native()));
    umount2(root.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    return error;
  }
  return {};
}

class Virtiofsd : public Share {
 public:
  Virtiofsd(asio::any_io_executor executor, const VirtiofsdOptions& options)
      : executor_(std::move(executor)),
        root_(options.run_dir / "shared"),
        socket_(options.run_dir / "virtiofs.sock"),
        device_(hypervisor::VhostUserFs{socket_, options.tag}) {}

  ~Virtiofsd() override {
    process_.reset();
    if (root_mounted_) umount2(root_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    std::error_code ignored;
    std::filesystem::remove(socket_, ignored);
    std::filesystem::remove(root_, ignored);
  }

  Status start(const VirtiofsdOptions& options) {
    KATA_TRY(auto daemon, find_virtiofsd(options.daemon));
    KATA_CHECK(make_share_root(root_));
    root_mounted_ = true;
    KATA_TRY(auto listener, sys::listen_unix(socket_, 1));
    // virtiofsd accepts its one connection without waiting for it to be there.
    if (fcntl(listener.get(), F_SETFL, 0) != 0) return fail_errno("share: make a socket blocking");
    sys::SubprocessOptions child;
    child.executable = daemon;
    // The options that QEMU's C daemon and the Rust daemon (as compatibility options) both take.
    // Submounts are announced so that files of different mounts never share st_dev and st_ino.
    child.arguments = {fmt::format("--fd={}", sys::kFirstPassedFd), "-o",
                       fmt::format("source={}", root_.native()),    "-o",
                       fmt::format("cache={}", options.cache),      "-o",
                       "sandbox=namespace,xattr,announce_submounts"};
    child.passed_fds = {listener.get()};
    KATA_TRY(process_, sys::Subprocess::spawn(executor_, child));
    return {};
  }

  const hypervisor::Device& device() const override { return device_; }
  const std::filesystem::path& root() const override { return root_; }
  const sys::ProcessIdentity& server() const override { return process_->identity(); }

  Async<std::string> wait_exit() override {
    auto waited = co_await process_->wait();
    if (!waited) co_return std::unexpected(waited.error());
    co_return fmt::format("{}: {}", sys::describe(*waited), process_->output());
  }

  Async<void> stop(bool was_used) override {
    if (!process_ || process_->has_ended()) co_return Status{};
    if (was_used) {
      const bool ended = co_await ends_by_itself();
      if (ended) co_return Status{};
      log::warning("virtiofsd did not end with its VM and is killed");
    }
    KATA_CO_CHECK(process_->kill(SIGKILL));
    auto reaped = co_await process_->wait();
    if (!reaped) co_return std::unexpected(reaped.error());
    co_return Status{};
  }

 private:
  asio::awaitable<bool> ends_by_itself() {
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer grace(executor_, kExitGrace);
    auto ended = process_->wait();
    auto finished = co_await (std::move(ended) || grace.async_wait(asio::use_awaitable));
    co_return finished.index() == 0;
  }

  asio::any_io_executor executor_;
  std::filesystem::path root_;
  std::filesystem::path socket_;
  hypervisor::Device device_;
  std::unique_ptr<sys::Subprocess> process_;
  bool root_mounted_ = false;
};

}  // namespace

Result<std::filesystem::path> find_virtiofsd(const std::filesystem::path& configured) {
  std::error_code error;
  if (!configured.empty()) {
    if (std::filesystem::exists(configured, error)) return configured;
    return fail(
        Code::kNotFound,
        "share: virtiofsd {} does not exist: correct virtio_fs_daemon in configuration.toml",
        configured.native());
  }
  for (const char* candidate : kKnownDaemons)
    if (std::filesystem::exists(candidate, error)) return std::filesystem::path(candidate);
  return fail(Code::kNotFound,
              "share: no virtiofsd in {}: install it (Debian 12: apt-get install "
              "qemu-system-common) or set virtio_fs_daemon in configuration.toml",
              fmt::join(kKnownDaemons, ", "));
}

Result<std::unique_ptr<Share>> start_virtiofsd(asio::any_io_executor executor,
                                               const VirtiofsdOptions& options) {
  auto share = std::make_unique<Virtiofsd>(std::move(executor), options);
  KATA_CHECK(share->start(options));
  return share;
}

}  // namespace kata::storage
