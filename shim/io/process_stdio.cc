#include "shim/io/process_stdio.h"

#include <utility>

#include <boost/asio/post.hpp>

namespace kata::io {
namespace {

/// Not a member: the coroutine may outlive the ProcessStdio, whose destruction sets the event.
Async<void> wait_for_end(bool attached, sys::Event ended) {
  if (attached) co_await ended.wait();
  co_return Status();
}

}  // namespace

ProcessStdio::ProcessStdio(const asio::any_io_executor& executor, std::string id, ClientEnds ends)
    : id_(std::move(id)),
      wants_in_(bool(ends.in)),
      wants_out_(ends.out != nullptr),
      wants_err_(ends.err != nullptr),
      terminal_(ends.terminal),
      ends_(std::move(ends)),
      ended_(executor),
      open_outputs_(std::make_shared<OpenOutputs>([executor, ended = ended_] {
        asio::post(executor, [ended]() mutable { ended.set(); });
      })) {}

ProcessStdio::~ProcessStdio() { cancel(); }

void ProcessStdio::attach(sandbox::StdioStreams streams) {
  attached_ = true;
  ClientEnds ends = std::exchange(ends_, {});
  attach_input(std::move(streams.in), std::move(ends.in));
  out_ = attach_output("stdout", std::move(streams.out), std::move(ends.out));
  err_ = attach_output("stderr", std::move(streams.err), std::move(ends.err));
  open_outputs_->one_ended();
}

void ProcessStdio::attach_input(UniqueFd guest, UniqueFd fifo) {
  if (!guest || !fifo) return;
  in_ = std::make_shared<InputCopy>(id_, std::move(fifo), std::move(guest));
  if (stdin_closed_) in_->release();
  in_->start();
}

std::shared_ptr<OutputCopy> ProcessStdio::attach_output(std::string name, UniqueFd guest,
                                                        std::unique_ptr<Sink> sink) {
  if (!guest || !sink) return nullptr;
  open_outputs_->add();
  auto copy = std::make_shared<OutputCopy>(std::move(name), id_, std::move(guest), std::move(sink),
                                           [outputs = open_outputs_] { outputs->one_ended(); });
  copy->start();
  return copy;
}

Async<void> ProcessStdio::drained() { return wait_for_end(attached_, ended_); }

void ProcessStdio::close_stdin() {
  if (terminal_) return;
  stdin_closed_ = true;
  if (in_) in_->release();
}

void ProcessStdio::process_ended() {
  if (out_) out_->process_ended();
  if (err_) err_->process_ended();
}

void ProcessStdio::cancel() {
  ends_ = {};
  if (in_) in_->cancel();
  if (out_) out_->cancel();
  if (err_) err_->cancel();
  open_outputs_->abandon();
  ended_.set();
}

}  // namespace kata::io
