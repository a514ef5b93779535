#include "shim/io/fifo.h"

#include <cerrno>
#include <memory>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "common/log/log.h"
#include "shim/io/descriptor.h"
#include "shim/io/reader_watch.h"

namespace kata::io {
namespace {

UniqueFd reopen(int fd, int access) {
  return UniqueFd(::open(reopen_path(fd).c_str(), access | O_NONBLOCK | O_CLOEXEC));
}

bool has_readers(int writer) {
  pollfd state{.fd = writer, .events = 0, .revents = 0};
  return ::poll(&state, 1, 0) == 0;
}

bool is_empty(int fifo) {
  int bytes = 0;
  return ::ioctl(fifo, FIONREAD, &bytes) < 0 || bytes == 0;
}

class FifoSink : public Sink {
 public:
  explicit FifoSink(UniqueFd handle) : handle_(std::move(handle)) {}

  Status start() override;
  int fd() override { return writer_->fd(); }
  asio::awaitable<void> writable() override {
    co_await writer_->wait(Descriptor::Ready::wait_write);
  }
  void process_ended() override;
  asio::awaitable<void> finish() override;
  void close() override;

 private:
  bool had_reader();
  Status watch(uint32_t events);
  asio::awaitable<bool> reader_came(bool had_reader);
  asio::awaitable<void> emptied();

  UniqueFd handle_;                   // until start()
  std::optional<Descriptor> writer_;  // from start() on
  UniqueFd keeper_;
  /// Set from the start only when no client was there.
  std::unique_ptr<ReaderWatch> watch_;
  bool had_reader_ = false;  // see had_reader()
};

Status FifoSink::start() {
  auto writer = reopen(handle_.get(), O_WRONLY);
  if (!writer && errno == ENXIO) {
    // No client has opened its end yet. It may do so now, before the watch and after it.
    KATA_CHECK(watch(IN_OPEN | IN_CLOSE_NOWRITE));
    writer = reopen(handle_.get(), O_WRONLY);
    if (writer) watch_.reset();
  }
  keeper_ = reopen(handle_.get(), O_RDONLY);
  if (!keeper_) return fail_errno("open the client's fifo for reading");
  if (!writer) writer = reopen(handle_.get(), O_WRONLY);
  if (!writer) return fail_errno("open the client's fifo for writing");
  if (watch_) watch_->take();  // our own opens
  handle_.reset();
  return writer_.emplace().open(std::move(writer));
}

Status FifoSink::watch(uint32_t events) {
  int fifo = handle_ ? handle_.get() : fd();
  if (watch_) return watch_->add(fifo, events);
  KATA_TRY(watch_, ReaderWatch::start(fifo, events));
  return {};
}

/// Whether a client has opened its end, be it that it has left since.
bool FifoSink::had_reader() {
  if (!watch_ || watch_->take() != 0) had_reader_ = true;
  return had_reader_;
}

void FifoSink::process_ended() {
  // Without a client and without the keeper, a full fifo breaks instead of waiting.
  if (writer_ && had_reader()) keeper_.reset();
}

asio::awaitable<void> FifoSink::finish() {
  bool had_reader = this->had_reader();
  if (had_reader && is_empty(fd())) co_return close();

  keeper_.reset();
  // Before the readers are looked at, so that none of them goes unseen.
  if (auto watched = watch(IN_OPEN | IN_ACCESS | IN_CLOSE_NOWRITE); !watched) {
    log::warning("cannot wait until the client has read the end of a stream",
                 {{"error", watched.error().message()}});
    co_return close();
  }
  if (watch_->take() & IN_OPEN) had_reader = true;  // and not our own close
  bool came = co_await reader_came(had_reader);
  if (came) co_await emptied();
  close();
}

asio::awaitable<bool> FifoSink::reader_came(bool had_reader) {
  while (writer_->is_open() && !has_readers(fd())) {
    if (had_reader) co_return false;
    uint32_t happened = co_await watch_->next();
    if (happened & IN_OPEN) had_reader = true;
  }
  co_return writer_->is_open();
}

/// A client that leaves before the end of its container's output loses it, as under runc; but a
/// client must not hear of the process's end while it still reads: some stop reading then.
asio::awaitable<void> FifoSink::emptied() {
  keeper_ = reopen(fd(), O_RDONLY);
  // The client sees the end of file after the rest, however it reads.
  writer_->close();
  while (keeper_ && !is_empty(keeper_.get())) {
    uint32_t happened = co_await watch_->next();
    if (happened == 0 || (happened & IN_CLOSE_NOWRITE)) co_return;
  }
}

void FifoSink::close() {
  handle_.reset();
  if (writer_) writer_->close();
  keeper_.reset();
  if (watch_) watch_->close();
}

}  // namespace

Result<UniqueFd> find_fifo(const std::string& path) {
  UniqueFd handle(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!handle) return fail_errno(fmt::format("open fifo {}", path));
  struct stat status;
  if (::fstat(handle.get(), &status) < 0) return fail_errno(fmt::format("stat {}", path));
  if (!S_ISFIFO(status.st_mode))
    return fail(Code::kInvalidArgument, "{} is not a fifo; give a fifo's path or a URI", path);
  return handle;
}

Result<UniqueFd> open_fifo(const UniqueFd& handle, int access) {
  auto fd = reopen(handle.get(), access);
  if (!fd) return fail_errno("open the client's fifo");
  return fd;
}

std::unique_ptr<Sink> make_fifo_sink(UniqueFd handle) {
  return std::make_unique<FifoSink>(std::move(handle));
}

}  // namespace kata::io
