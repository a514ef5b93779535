#include "shim/io/output_copy.h"

#include <utility>

#include <boost/asio/post.hpp>

#include "common/log/log.h"
#include "shim/io/copier.h"

namespace kata::io {

OutputCopy::OutputCopy(std::string name, std::string id, UniqueFd source,
                       std::unique_ptr<Sink> sink, std::function<void()> on_end)
    : name_(std::move(name)),
      id_(std::move(id)),
      guest_(std::move(source)),
      sink_(std::move(sink)),
      on_end_(std::move(on_end)) {}

void OutputCopy::start() {
  asio::co_spawn(
      Copier::instance().executor(), [self = shared_from_this()] { return self->run(); },
      asio::detached);
}

void OutputCopy::process_ended() {
  asio::post(Copier::instance().executor(),
             [self = shared_from_this()] { self->sink_->process_ended(); });
}

void OutputCopy::cancel() {
  asio::post(Copier::instance().executor(), [self = shared_from_this()] {
    self->source_.close();
    self->sink_->close();
  });
}

asio::awaitable<void> OutputCopy::run() {
  bool complete = false;
  if (auto opened = open()) {
    complete = co_await copy();
  } else {
    log_failure(opened.error().message());
  }
  source_.close();
  if (complete) co_await sink_->finish();
  sink_->close();
  on_end_();
}

Status OutputCopy::open() {
  KATA_CHECK(source_.open(std::move(guest_)));
  return sink_->start();
}

/// True when the guest has ended the stream and everything is in the sink.
asio::awaitable<bool> OutputCopy::copy() {
  Transfer transfer(source_.fd(), sink_->fd(), Copier::instance().buffers());
  while (source_.is_open()) {
    switch (transfer.step()) {
      case Transfer::Step::kMoved:
        co_await asio::post(asio::use_awaitable);
        break;
      case Transfer::Step::kSourceEmpty:
        co_await source_.wait(Descriptor::Ready::wait_read);
        break;
      case Transfer::Step::kSinkFull:
        co_await sink_->writable();
        break;
      case Transfer::Step::kEnd:
        co_return true;
      case Transfer::Step::kSinkGone:
        log_failure("nobody reads it any more");
        co_return false;
      case Transfer::Step::kFailed:
        log_failure(errno_error("copy", transfer.error_number()).message());
        co_return true;  // What the guest sent before is in the sink.
    }
  }
  co_return false;
}

void OutputCopy::log_failure(std::string_view cause) {
  log::error("a stream broke",
             {{"container", id_}, {"stream", name_}, {"error", std::string(cause)}});
}

}  // namespace kata::io
