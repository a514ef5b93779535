#include "shim/io/logger.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fcntl.h>
#include <unistd.h>

#include "common/base/unique_fd.h"
#include "common/log/log.h"
#include "common/sys/event.h"
#include "common/sys/subprocess.h"
#include "shim/io/copier.h"
#include "shim/io/descriptor.h"
#include "shim/io/open_outputs.h"

namespace kata::io {
namespace {

using namespace asio::experimental::awaitable_operators;

struct Pipe {
  UniqueFd reader;
  UniqueFd writer;

  static Result<Pipe> open() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("create a pipe");
    return Pipe{.reader = UniqueFd(ends[0]), .writer = UniqueFd(ends[1])};
  }
};

/// One of a logger's streams. All but the constructor and the destructor is for the copier's
/// thread.
class LoggerSink : public Sink {
 public:
  LoggerSink(UniqueFd pipe, std::shared_ptr<OpenOutputs> streams, sys::Event logger_ended)
      : pipe_(std::move(pipe)),
        streams_(std::move(streams)),
        logger_ended_(std::move(logger_ended)) {
    streams_->add();
  }
  ~LoggerSink() override { end_stream(); }

  Status start() override { return writer_.emplace().open(std::move(pipe_)); }
  int fd() override { return writer_->fd(); }
  asio::awaitable<void> writable() override {
    co_await writer_->wait(Descriptor::Ready::wait_write);
  }
  asio::awaitable<void> finish() override {
    end_stream();
    auto either = logger_ended_;
    co_await (either.wait() || closed_.wait());
  }
  void close() override {
    end_stream();
    closed_.set();
  }

 private:
  void end_stream() {
    pipe_.reset();
    if (writer_) writer_->close();
    if (streams_) std::exchange(streams_, nullptr)->one_ended();
  }

  UniqueFd pipe_;  // until start()
  std::optional<Descriptor> writer_;
  std::shared_ptr<OpenOutputs> streams_;
  sys::Event logger_ended_;
  sys::Event closed_{Copier::instance().executor()};
};

/// A logger that runs; on `executor`. Destroyed when the process has ended, or with the executor.
class Logger : public std::enable_shared_from_this<Logger> {
 public:
  Logger(asio::any_io_executor executor, LoggerOptions options)
      : executor_(std::move(executor)),
        options_(std::move(options)),
        streams_ended_(executor_),
        ended_(Copier::instance().executor()),
        streams_(std::make_shared<OpenOutputs>([executor = executor_, ended = streams_ended_] {
          asio::post(executor, [ended]() mutable { ended.set(); });
        })) {}
  ~Logger() {
    streams_->abandon();
    asio::post(Copier::instance().executor(), [ended = ended_]() mutable { ended.set(); });
  }

  static Async<LoggerSinks> start(std::shared_ptr<Logger> self);

 private:
  Result<LoggerSinks> spawn();
  Result<std::unique_ptr<Sink>> sink(bool wanted, UniqueFd pipe);
  asio::awaitable<void> wait_for_word();
  Async<void> wait_until_ready();
  static asio::awaitable<void> wait_for_end(std::shared_ptr<Logger> self);

  asio::any_io_executor executor_;
  LoggerOptions options_;
  sys::Event streams_ended_;
  sys::Event ended_;  // the copier's
  std::shared_ptr<OpenOutputs> streams_;
  std::unique_ptr<sys::Subprocess> process_;
  std::optional<asio::posix::stream_descriptor> ready_;
  /// Of the ready pipe: 1 after the byte, 0 at its end.
  std::optional<size_t> word_;
};

/// Each key and its first value, as containerd's runc shim passes them, but in the URI's order.
std::vector<std::string> arguments_of(const StdioUri& uri) {
  std::vector<std::string> arguments;
  std::vector<std::string_view> seen;
  for (const auto& [key, value] : uri.query) {
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) continue;
    seen.push_back(key);
    arguments.push_back(key);
    arguments.push_back(value);
  }
  return arguments;
}

Result<std::unique_ptr<Sink>> Logger::sink(bool wanted, UniqueFd pipe) {
  if (!wanted) return std::unique_ptr<Sink>();  // the logger reads an empty stream
  if (::fcntl(pipe.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("fcntl of a pipe");
  return std::make_unique<LoggerSink>(std::move(pipe), streams_, ended_);
}

Result<LoggerSinks> Logger::spawn() {
  KATA_TRY(Pipe out, Pipe::open());
  KATA_TRY(Pipe err, Pipe::open());
  KATA_TRY(Pipe ready, Pipe::open());
  sys::SubprocessOptions process;
  process.executable = options_.uri.path;
  process.arguments = arguments_of(options_.uri);
  process.environment = {"CONTAINER_ID=" + options_.container_id,
                         "CONTAINER_NAMESPACE=" + options_.nspace};
  process.passed_fds = {out.reader.get(), err.reader.get(), ready.writer.get()};
  process.network_namespace = options_.network_namespace;
  KATA_TRY(process_, sys::Subprocess::spawn(executor_, process));
  boost::system::error_code error;
  ready_.emplace(executor_).assign(ready.reader.get(), error);
  if (error) return fail_errno("wait for a pipe", error.value());
  ready.reader.release();
  LoggerSinks sinks;
  KATA_TRY(sinks.out, sink(options_.wants_out, std::move(out.writer)));
  KATA_TRY(sinks.err, sink(options_.wants_err, std::move(err.writer)));
  return sinks;
}

asio::awaitable<void> Logger::wait_for_word() {
  std::array<char, 1> byte{};
  boost::system::error_code error;
  size_t count = co_await ready_->async_read_some(asio::buffer(byte),
                                                  asio::redirect_error(asio::use_awaitable, error));
  if (error != asio::error::operation_aborted) word_ = count;
}

Async<void> Logger::wait_until_ready() {
  asio::steady_timer limit(executor_, options_.ready_limit);
  co_await (wait_for_word() || process_->wait() || limit.async_wait(asio::use_awaitable));
  ready_.reset();
  if (word_ == 1) co_return Status();
  // A process closes its descriptors when it ends, before its end can be seen.
  bool ends = process_->has_ended() || sys::is_exiting(process_->pid());
  if (word_ && !ends && options_.uri.scheme == "binary") co_return Status();

  std::string what = fmt::format("was not ready within {} ms", options_.ready_limit.count());
  if (word_) what = "closed its descriptor 5 without a word that it is ready";
  Code code = word_ || ends ? Code::kFailedPrecondition : Code::kDeadlineExceeded;
  if (!ends) (void)process_->kill(SIGKILL);
  KATA_CO_TRY(sys::ExitStatus status, co_await process_->wait());
  if (ends) what = fmt::format("{} before it was ready", sys::describe(status));
  std::string output = process_->output();
  if (!output.empty()) what += ": " + output;
  co_return fail(code, "the logger {} {}", options_.uri.path, what);
}

Async<LoggerSinks> Logger::start(std::shared_ptr<Logger> self) {
  auto sinks = self->spawn();
  if (!sinks) co_return std::unexpected(sinks.error().with_stage("start the logger"));
  KATA_CO_CHECK(co_await self->wait_until_ready());
  self->streams_->one_ended();  // its maker's count
  asio::co_spawn(self->executor_, wait_for_end(self), asio::detached);
  co_return sinks;
}

asio::awaitable<void> Logger::wait_for_end(std::shared_ptr<Logger> self) {
  auto& process = *self->process_;
  co_await (self->streams_ended_.wait() || process.wait());
  if (!process.has_ended()) {
    asio::steady_timer limit(self->executor_, self->options_.end_limit);
    co_await (process.wait() || limit.async_wait(asio::use_awaitable));
  }
  if (!process.has_ended()) {
    log::warning("killing a logger that has not ended after its streams",
                 {{"container", self->options_.container_id}, {"logger", self->options_.uri.path}});
    (void)process.kill(SIGKILL);
  }
  auto status = co_await process.wait();
  if (status && !status->success())
    log::warning("a logger failed", {{"container", self->options_.container_id},
                                     {"logger", self->options_.uri.path},
                                     {"cause", sys::describe(*status)},
                                     {"output", process.output()}});
}

}  // namespace

Async<LoggerSinks> start_logger(asio::any_io_executor executor, LoggerOptions options) {
  return Logger::start(std::make_shared<Logger>(std::move(executor), std::move(options)));
}

}  // namespace kata::io
