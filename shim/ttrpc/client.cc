#include "shim/ttrpc/client.h"

#include <cerrno>
#include <optional>
#include <utility>

#include <boost/asio/redirect_error.hpp>

#include "common/log/log.h"
#include "containerd/ttrpc.pb.h"

namespace kata::ttrpc {
namespace {

Result<std::string> decode_response(const std::string& payload) {
  ::ttrpc::Response response;
  if (!response.ParseFromString(payload))
    return fail(Code::kInternal, "the server's answer cannot be decoded");
  if (response.status().code() != 0)
    return std::unexpected(
        Error(code_from_wire(response.status().code()), response.status().message()));
  return std::move(*response.mutable_payload());
}

}  // namespace

Async<std::unique_ptr<Client>> Client::connect(asio::any_io_executor executor,
                                               std::filesystem::path socket_path) {
  if (socket_path.native().size() >= sizeof(sockaddr_un::sun_path))
    co_return fail(Code::kInvalidArgument, "socket path {} is too long", socket_path.native());
  Socket socket(executor);
  asio::local::stream_protocol::endpoint address(socket_path.native());
  boost::system::error_code error;
  co_await socket.async_connect(address, asio::redirect_error(asio::use_awaitable, error));
  if (error)
    co_return std::unexpected(
        errno_error(fmt::format("connect to {}", socket_path.native()), error.value()));
  auto state = std::make_shared<State>();
  state->channel = std::make_shared<Channel>(std::move(socket));
  asio::co_spawn(executor, read_answers(state), asio::detached);
  co_return std::unique_ptr<Client>(new Client(std::move(state)));
}

Client::~Client() { state_->channel->close(); }

bool Client::is_open() const { return state_->channel->is_open(); }

Async<std::string> Client::call(std::string service, std::string method, std::string payload,
                                std::chrono::nanoseconds timeout) {
  return call_on(state_, std::move(service), std::move(method), std::move(payload), timeout);
}

Async<std::string> Client::call_on(std::shared_ptr<State> state, std::string service,
                                   std::string method, std::string payload,
                                   std::chrono::nanoseconds timeout) {
  if (!state->channel->is_open()) co_return fail(Code::kUnavailable, "the connection has ended");
  ::ttrpc::Request request;
  request.set_service(std::move(service));
  request.set_method(std::move(method));
  request.set_payload(std::move(payload));
  request.set_timeout_nano(timeout.count());
  std::string encoded = request.SerializeAsString();
  if (encoded.size() > kMaxMessageBytes)
    co_return fail(Code::kResourceExhausted, "the request has {} bytes, {} are allowed",
                   encoded.size(), kMaxMessageBytes);

  uint32_t id = std::exchange(state->next_stream_id, state->next_stream_id + 2);
  Answer answer(state->channel->executor());
  state->waiting.emplace(id, answer);
  state->channel->send(id, kTypeRequest, std::move(encoded));
  if (timeout.count() == 0) co_return co_await answer.wait();

  std::optional<Result<std::string>> answered = co_await answer.wait_for(timeout);
  state->waiting.erase(id);
  if (!answered) co_return fail(Code::kDeadlineExceeded, "no answer in time");
  co_return *std::move(answered);
}

asio::awaitable<void> Client::read_answers(std::shared_ptr<State> state) {
  for (;;) {
    Result<Frame> frame = co_await state->channel->read();
    if (!frame) {
      if (frame.error().code() != Code::kUnavailable)
        log::warning("closed a connection", {{"error", frame.error().message()}});
      break;
    }
    auto waiting = state->waiting.find(frame->header.stream_id);
    if (waiting == state->waiting.end() || frame->header.type != kTypeResponse) continue;
    Result<std::string> outcome =
        frame->oversized() ? fail(Code::kResourceExhausted, "the server's answer has {} bytes",
                                  frame->header.length)
                           : decode_response(frame->payload);
    waiting->second.set(std::move(outcome));
    state->waiting.erase(waiting);
  }
  state->channel->close();
  for (auto& [id, answer] : std::exchange(state->waiting, {}))
    answer.set(fail(Code::kUnavailable, "the connection ended before the answer"));
}

}  // namespace kata::ttrpc
