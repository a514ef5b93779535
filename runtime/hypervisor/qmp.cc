#include "runtime/hypervisor/qmp.h"

#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <utility>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>
#include <fcntl.h>
#include <sys/socket.h>

#include "common/log/log.h"
#include "common/sys/promise.h"
#include "runtime/hypervisor/qmp_message.h"

namespace kata::hypervisor {

using nlohmann::json;
using Reply = sys::Promise<Result<json>>;

namespace {

struct Request {
  std::string bytes;
  UniqueFd fd;  // empty: none
};

/// Sends the first bytes of a request with its descriptor; 0: not now.
Result<size_t> send_with_fd(int socket, const Request& request) {
  iovec bytes{const_cast<char*>(request.bytes.data()), request.bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = request.fd.get();
  std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent >= 0) return static_cast<size_t>(sent);
  if (errno == EAGAIN || errno == EINTR) return 0;
  return fail_errno("QMP: send a descriptor");
}

}  // namespace

struct QmpClient::State {
  State(const asio::any_io_executor& executor, UniqueFd fd, EventHandler handler,
        std::chrono::milliseconds answer_limit)
      : executor(executor),
        answer_limit(answer_limit),
        socket(executor, asio::local::stream_protocol(), fd.release()),
        on_event(std::move(handler)),
        greeting(executor),
        ended(executor) {}

  /// Ends the connection: every call under way, and every later one, answers `error`.
  void close(Error error) {
    if (closed) return;
    closed = std::move(error);
    boost::system::error_code ignored;
    socket.close(ignored);
    on_event = nullptr;
    greeting.set(std::unexpected(*closed));
    ended.set();
    for (auto& [id, reply] : std::exchange(pending, {})) reply.set(std::unexpected(*closed));
  }

  void handle(QmpGreeting&& message) { greeting.set(std::move(message.qemu_version)); }
  void handle(QmpReply&& message) {
    const auto found = pending.find(message.id);
    if (found == pending.end()) return;
    Reply reply = std::move(found->second);
    pending.erase(found);
    reply.set(std::move(message.result));
  }
  void handle(QmpEvent&& message) {
    // A copy: the handler may destroy the client, and with it `on_event`.
    if (const EventHandler handler = on_event) handler(message.name, message.data);
  }

  asio::any_io_executor executor;
  const std::chrono::milliseconds answer_limit;
  asio::local::stream_protocol::socket socket;
  EventHandler on_event;
  QmpParser parser;
  sys::Promise<Result<std::string>> greeting;
  std::string qemu_version;
  std::map<uint64_t, Reply> pending;
  uint64_t next_id = 1;
  std::deque<Request> to_write;
  bool writing = false;
  std::optional<Error> closed;
  sys::Event ended;
};

QmpClient::QmpClient(asio::any_io_executor executor, UniqueFd socket, EventHandler on_event,
                     std::chrono::milliseconds answer_limit)
    : state_(
          std::make_shared<State>(executor, std::move(socket), std::move(on_event), answer_limit)) {
  asio::co_spawn(executor, read_loop(state_), asio::detached);
}

QmpClient::~QmpClient() {
  state_->close(Error(Code::kUnavailable, "the connection to QEMU's monitor was closed"));
}

const std::string& QmpClient::qemu_version() const { return state_->qemu_version; }

asio::awaitable<void> QmpClient::read_loop(std::shared_ptr<State> state) {
  std::array<char, 4096> buffer;
  while (!state->closed) {
    boost::system::error_code error;
    const auto target = asio::buffer(buffer);
    const size_t size = co_await state->socket.async_read_some(
        target, asio::redirect_error(asio::use_awaitable, error));
    if (error) {
      state->close(Error(Code::kUnavailable, "QEMU closed its monitor"));
      co_return;
    }
    auto messages = state->parser.feed(std::string_view(buffer.data(), size));
    if (!messages) {
      log::error("QMP", {{"error", messages.error().message()}});
      state->close(messages.error());
      co_return;
    }
    for (auto& message : *messages)
      std::visit([&](auto& value) { state->handle(std::move(value)); }, message);
  }
}

asio::awaitable<void> QmpClient::write_loop(std::shared_ptr<State> state) {
  boost::system::error_code error;
  while (!state->to_write.empty() && !state->closed) {
    const Request request = std::move(state->to_write.front());
    state->to_write.pop_front();
    size_t sent = 0;
    while (request.fd && sent == 0) {
      co_await state->socket.async_wait(asio::socket_base::wait_write,
                                        asio::redirect_error(asio::use_awaitable, error));
      // Closed meanwhile: the descriptor number may be somebody else's.
      if (error || state->closed) co_return;
      const auto now = send_with_fd(state->socket.native_handle(), request);
      // The connection may be whole, but who sent the descriptor would wait for ever.
      if (!now) {
        state->close(now.error());
        co_return;
      }
      sent = *now;
    }
    const auto rest = asio::buffer(request.bytes) + sent;
    co_await asio::async_write(state->socket, rest,
                               asio::redirect_error(asio::use_awaitable, error));
    // The reading side sees the end of the connection too, and reports it.
    if (error) co_return;
  }
  state->writing = false;
}

Async<void> QmpClient::handshake(std::shared_ptr<State> state) {
  auto version = co_await state->greeting.wait();
  if (!version) co_return std::unexpected(version.error());
  state->qemu_version = *version;
  KATA_CO_CHECK(co_await execute(state, "qmp_capabilities", json::object(), UniqueFd()));
  co_return Status{};
}

Async<json> QmpClient::execute(std::shared_ptr<State> state, std::string command, json arguments,
                               UniqueFd fd) {
  if (state->closed) co_return std::unexpected(*state->closed);
  const uint64_t id = state->next_id++;
  Reply reply(state->executor);
  state->pending.emplace(id, reply);
  const json request = {{"execute", command}, {"arguments", std::move(arguments)}, {"id", id}};
  std::string bytes = request.dump(-1, ' ', true, json::error_handler_t::replace) + "\r\n";
  state->to_write.push_back(Request{std::move(bytes), std::move(fd)});
  if (!state->writing) {
    state->writing = true;
    asio::co_spawn(state->executor, write_loop(state), asio::detached);
  }
  // A back end that hangs (virtiofsd, a disk) hangs QEMU's main loop, and its monitor.
  std::optional<Result<json>> result = co_await reply.wait_for(state->answer_limit);
  if (!result) {
    state->pending.erase(id);
    co_return fail(Code::kDeadlineExceeded, "QMP {}: QEMU did not answer within {} ms", command,
                   state->answer_limit.count());
  }
  if (!*result) co_return std::unexpected(result->error().with_stage("QMP " + command));
  co_return *std::move(result);
}

asio::awaitable<void> QmpClient::wait_closed() { return state_->ended.wait(); }

Async<void> QmpClient::handshake() { return handshake(state_); }

Async<json> QmpClient::execute(std::string command, json arguments) {
  return execute(state_, std::move(command), std::move(arguments), UniqueFd());
}

Async<json> QmpClient::execute_with_fd(std::string command, json arguments, int fd) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy) co_return fail_errno("QMP: duplicate a descriptor");
  co_return co_await execute(state_, std::move(command), std::move(arguments), std::move(copy));
}

}  // namespace kata::hypervisor
