#include "shim/ttrpc/connection.h"

#include <chrono>
#include <exception>
#include <utility>

#include <boost/asio/redirect_error.hpp>

#include "common/log/log.h"
#include "containerd/ttrpc.pb.h"

namespace kata::ttrpc {
namespace {

std::string encode_response(const Result<std::string>& outcome) {
  ::ttrpc::Response response;
  if (outcome) {
    response.set_payload(*outcome);
  } else {
    response.mutable_status()->set_code(static_cast<int>(outcome.error().code()));
    response.mutable_status()->set_message(outcome.error().message());
  }
  return response.SerializeAsString();
}

/// A coroutine of its own, so that a handler that throws before its first co_await is caught too.
Async<std::string> invoke(const CallHandler& handler, std::string payload, Caller caller) {
  co_return co_await handler(std::move(payload), std::move(caller));
}

Result<std::string> outcome_of(std::exception_ptr exception, Result<std::string> result) {
  if (!exception) return result;
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& thrown) {
    return fail(Code::kInternal, "unexpected: {}", thrown.what());
  } catch (...) {
    return fail(Code::kInternal, "unexpected exception");
  }
}

}  // namespace

/// One request until it has been answered.
struct Connection::Call {
  Call(const asio::any_io_executor& executor, uint32_t id)
      : stream_id(id), deadline(executor), gone(executor) {}
  uint32_t stream_id;
  asio::steady_timer deadline;
  sys::Event gone;  // its caller
  bool is_bounded = true;
  bool answered = false;
};

Connection::Connection(Socket socket, std::shared_ptr<const Methods> methods,
                       std::shared_ptr<Activity> activity, ServerLimits limits)
    : channel_(std::make_shared<Channel>(std::move(socket))),
      methods_(std::move(methods)),
      activity_(std::move(activity)),
      limits_(limits),
      executor_(channel_->executor()),
      finished_(executor_, asio::steady_timer::time_point::max()),
      ended_(executor_) {}

asio::awaitable<void> Connection::run() {
  auto self = shared_from_this();
  for (;;) {
    co_await wait_for_room();
    Result<Frame> frame = co_await channel_->read();
    if (!frame) {
      if (frame.error().code() != Code::kUnavailable)
        log::warning("closed a connection", {{"error", frame.error().message()}});
      break;
    }
    take(*std::move(frame));
  }
  channel_->close();
  for (const auto& call : running_) call->gone.set();
  ended_.set();
}

asio::awaitable<void> Connection::wait_for_room() {
  co_await channel_->queue_below(limits_.queued_reply_bytes);
  while (bounded_running_ >= limits_.running_requests && channel_->is_open()) {
    boost::system::error_code cancelled;
    co_await finished_.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
  }
}

asio::awaitable<void> Connection::idle() {
  auto self = shared_from_this();
  while (!running_.empty()) {
    boost::system::error_code cancelled;
    co_await finished_.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
  }
  co_await channel_->queue_below(0);
}

void Connection::take(Frame frame) {
  uint32_t id = frame.header.stream_id;
  if (frame.oversized())
    return answer_error(id, Error(Code::kResourceExhausted,
                                  fmt::format("message length {} exceed maximum message size of {}",
                                              frame.header.length, kMaxMessageBytes)));
  if (frame.header.type == kTypeData)
    return answer_error(id, Error(Code::kInvalidArgument, "StreamID is no longer active"));
  // Further types are left to future versions of the protocol, as the Go server does.
  if (frame.header.type == kTypeRequest) take_request(frame);
}

void Connection::take_request(const Frame& frame) {
  uint32_t id = frame.header.stream_id;
  if (id % 2 != 1)
    return answer_error(
        id, Error(Code::kInvalidArgument, "StreamID must be odd for client initiated streams"));
  if (id <= last_stream_id_)
    return answer_error(
        id, Error(Code::kInvalidArgument, "StreamID cannot be re-used and must increment"));
  last_stream_id_ = id;

  ::ttrpc::Request request;
  if (!request.ParseFromString(frame.payload))
    return answer_error(id, Error(Code::kInvalidArgument, "unmarshal request error"));
  if (frame.header.flags & kFlagRemoteOpen)
    return answer_error(id, Error(Code::kUnimplemented, "streaming requests are not supported"));
  auto service = methods_->find(request.service());
  if (service == methods_->end())
    return answer_error(id, Error(Code::kUnimplemented, "service " + request.service()));
  auto method = service->second.find(request.method());
  if (method == service->second.end())
    return answer_error(id, Error(Code::kUnimplemented, "method " + request.method()));
  start(id, method->second, std::move(*request.mutable_payload()), request.timeout_nano());
}

void Connection::start(uint32_t stream_id, const Method& method, std::string payload,
                       int64_t timeout_nanoseconds) {
  auto self = shared_from_this();
  auto call = std::make_shared<Call>(executor_, stream_id);
  if (timeout_nanoseconds < 0)  // it had passed before the client sent the request
    return answer(*call, fail(Code::kDeadlineExceeded, "context deadline exceeded"));
  if (timeout_nanoseconds > 0) {
    call->deadline.expires_after(std::chrono::nanoseconds(timeout_nanoseconds));
    call->deadline.async_wait([self, call](boost::system::error_code cancelled) {
      if (cancelled) return;
      call->gone.set();
      self->answer(*call, fail(Code::kDeadlineExceeded, "context deadline exceeded"));
    });
  }
  running_.insert(call);
  call->is_bounded = method.duration == Duration::kBounded;
  if (call->is_bounded) ++bounded_running_;
  ++activity_->running_requests;
  activity_->tell();
  // The method lives in methods_, which `self` keeps.
  asio::co_spawn(executor_, invoke(method.handler, std::move(payload), Caller(call->gone)),
                 [self, call](std::exception_ptr exception, Result<std::string> result) {
                   self->finish(call, outcome_of(exception, std::move(result)));
                 });
}

void Connection::finish(const std::shared_ptr<Call>& call, Result<std::string> outcome) {
  running_.erase(call);
  if (call->is_bounded) --bounded_running_;
  finished_.cancel();
  answer(*call, std::move(outcome));
  --activity_->running_requests;
  activity_->tell();
}

void Connection::answer(Call& call, Result<std::string> outcome) {
  if (std::exchange(call.answered, true)) return;
  call.deadline.cancel();
  std::string response = encode_response(outcome);
  if (response.size() > kMaxMessageBytes)
    return answer_error(call.stream_id,
                        Error(Code::kResourceExhausted,
                              fmt::format("message length {} exceed maximum message size of {}",
                                          response.size(), kMaxMessageBytes)));
  channel_->send(call.stream_id, kTypeResponse, std::move(response));
}

void Connection::answer_error(uint32_t stream_id, const Error& error) {
  channel_->send(stream_id, kTypeResponse, encode_response(std::unexpected(error)));
}

}  // namespace kata::ttrpc
