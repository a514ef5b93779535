#include "shim/ttrpc/server.h"

#include <functional>
#include <map>
#include <set>
#include <utility>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log/log.h"
#include "shim/ttrpc/connection.h"

namespace kata::ttrpc {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr std::chrono::milliseconds kAcceptPause{100};

bool peer_is_same_user(Socket& socket) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  return getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
         peer.uid == geteuid();
}

}  // namespace

struct Server::State {
  State(asio::any_io_executor used_executor, ServerLimits used_limits)
      : executor(used_executor), limits(used_limits), acceptor(executor) {}

  asio::any_io_executor executor;
  ServerLimits limits;
  std::shared_ptr<Methods> methods = std::make_shared<Methods>();
  std::shared_ptr<Activity> activity = std::make_shared<Activity>();
  asio::local::stream_protocol::acceptor acceptor;
  std::set<std::shared_ptr<Connection>> connections;

  /// `wait`: of Connection, one after the other.
  template <typename Wait>
  static asio::awaitable<void> await_all(std::shared_ptr<State> state, Wait wait,
                                         std::chrono::milliseconds limit);
  static asio::awaitable<void> accept_all(std::shared_ptr<State> state);
  static asio::awaitable<void> run(std::shared_ptr<State> state,
                                   std::shared_ptr<Connection> connection);
};

Server::Server(asio::any_io_executor executor, ServerLimits limits)
    : state_(std::make_shared<State>(std::move(executor), limits)) {}

Server::~Server() {
  state_->activity->changed = nullptr;
  stop_accepting();
  for (const auto& connection : state_->connections) connection->close();
}

void Server::add_method(std::string service, std::string method, Handler handler,
                        Duration duration) {
  add_method(std::move(service), std::move(method),
             CallHandler([handler = std::move(handler)](std::string payload, Caller) {
               return handler(std::move(payload));
             }),
             duration);
}

void Server::add_method(std::string service, std::string method, CallHandler handler,
                        Duration duration) {
  (*state_->methods)[std::move(service)][std::move(method)] = {std::move(handler), duration};
}

size_t Server::connections() const { return state_->connections.size(); }

size_t Server::running_requests() const { return state_->activity->running_requests; }

void Server::on_change(std::function<void()> changed) {
  state_->activity->changed = std::move(changed);
}

Status Server::serve(UniqueFd listener) {
  boost::system::error_code error;
  state_->acceptor.assign(asio::local::stream_protocol(), listener.get(), error);
  if (error) return fail(Code::kInternal, "serve on the listening socket: {}", error.message());
  listener.release();
  asio::co_spawn(state_->executor, State::accept_all(state_), asio::detached);
  return {};
}

void Server::stop_accepting() {
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
}

asio::awaitable<void> Server::idle(std::chrono::milliseconds limit) {
  return State::await_all(state_, &Connection::idle, limit);
}

asio::awaitable<void> Server::deserted(std::chrono::milliseconds limit) {
  return State::await_all(state_, &Connection::ended, limit);
}

template <typename Wait>
asio::awaitable<void> Server::State::await_all(std::shared_ptr<State> state, Wait wait,
                                               std::chrono::milliseconds limit) {
  asio::steady_timer deadline(state->executor, limit);
  auto connections = state->connections;
  for (const auto& connection : connections) {
    if (deadline.expiry() <= std::chrono::steady_clock::now()) break;
    co_await (std::invoke(wait, *connection) || deadline.async_wait(asio::use_awaitable));
  }
}

asio::awaitable<void> Server::State::accept_all(std::shared_ptr<State> state) {
  while (state->acceptor.is_open()) {
    Socket socket(state->executor);
    boost::system::error_code error;
    co_await state->acceptor.async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted || !state->acceptor.is_open()) break;
    if (error) {
      // Out of descriptors or memory: the pending connection would make this loop spin.
      log::error("cannot accept a connection", {{"error", error.message()}});
      asio::steady_timer pause(state->executor, kAcceptPause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
      continue;
    }
    if (!peer_is_same_user(socket)) {
      log::warning("refused a connection of another user");
      continue;
    }
    auto connection = std::make_shared<Connection>(std::move(socket), state->methods,
                                                   state->activity, state->limits);
    state->connections.insert(connection);
    state->activity->tell();
    asio::co_spawn(state->executor, run(state, connection), asio::detached);
  }
}

asio::awaitable<void> Server::State::run(std::shared_ptr<State> state,
                                         std::shared_ptr<Connection> connection) {
  co_await connection->run();
  state->connections.erase(connection);
  state->activity->tell();
}

}  // namespace kata::ttrpc
