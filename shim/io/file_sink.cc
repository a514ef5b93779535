#include "shim/io/file_sink.h"

#include <cerrno>
#include <filesystem>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>

#include "common/base/unique_fd.h"
#include "shim/io/descriptor.h"
#include "shim/io/fifo.h"

namespace kata::io {
namespace {

class FileSink : public Sink {
 public:
  FileSink(UniqueFd file, bool can_wait) : file_(std::move(file)), can_wait_(can_wait) {}

  Status start() override {
    if (can_wait_) return device_.emplace().open(std::move(file_));
    return {};
  }
  int fd() override { return device_ ? device_->fd() : file_.get(); }
  asio::awaitable<void> writable() override {
    if (device_) co_await device_->wait(Descriptor::Ready::wait_write);
  }
  asio::awaitable<void> finish() override {
    close();
    co_return;
  }
  void close() override {
    file_.reset();
    if (device_) device_->close();
  }

 private:
  UniqueFd file_;  // a device's only until start()
  /// Regular files are always ready, and epoll(7) refuses them.
  bool can_wait_;
  std::optional<Descriptor> device_;
};

/// std::filesystem would leave the mode to the umask.
Status make_directories(const std::filesystem::path& directory) {
  std::filesystem::path made;
  for (const auto& part : directory) {
    made /= part;
    if (::mkdir(made.c_str(), 0755) != 0 && errno != EEXIST)
      return fail_errno(fmt::format("create {}", made.native()));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Sink>> open_file_sink(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode)) {
    KATA_TRY(auto fifo, find_fifo(path));
    return make_fifo_sink(std::move(fifo));
  }
  KATA_CHECK(make_directories(std::filesystem::path(path).parent_path()));
  // A device may wait, for a carrier, say, or for room.
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  UniqueFd file(::open(path.c_str(), kFlags, 0644));
  if (!file) return fail_errno(fmt::format("open {}", path));
  if (::fstat(file.get(), &status) < 0) return fail_errno(fmt::format("stat {}", path));
  bool can_wait = S_ISCHR(status.st_mode);
  return std::make_unique<FileSink>(std::move(file), can_wait);
}

}  // namespace kata::io
