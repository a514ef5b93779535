// ttrpc server on a unix socket (github.com/containerd/ttrpc, PROTOCOL.md: unary requests).
//
// Requests of a connection run at the same time; each is answered when its handler completes, in
// whatever order. What the protocol lets a client do wrong is answered as the Go implementation
// does: an oversized message with ResourceExhausted, a request that cannot be decoded or a reused
// or even stream id with InvalidArgument, an unknown service or method with Unimplemented. Bytes
// that are no frames at all end the connection.
//
// Deadlines: a request with a timeout is answered DeadlineExceeded when it has passed. The handler
// is not interrupted, it runs to its end and its answer is dropped; the same holds when the
// connection ends first. Handlers therefore never see a half-done operation abandoned. One that has
// to undo what nobody will hear of takes a Caller.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/unique_fd.h"
#include "common/sys/async.h"
#include "common/sys/event.h"

namespace kata::ttrpc {

/// Takes the request's payload and answers the response's. An Error becomes the call's status, its
/// code unchanged.
using Handler = std::function<Async<std::string>(std::string payload)>;

/// The peer that waits for a call's answer. Copies share it; they may outlive the connection. Used
/// on the server's executor.
///
///   server.add_method(service, "Create", [this](std::string payload, ttrpc::Caller caller)
///       -> Async<std::string> {
///     KATA_CO_TRY(auto made, co_await make(payload));
///     if (caller.has_gone()) { co_await undo(made); ... }   // nothing may be awaited in between
///
/// What the peer does after the handler has answered, before the answer is in its hands, stays
/// unknown, as with every protocol.
class Caller {
 public:
  explicit Caller(sys::Event gone) : gone_(std::move(gone)) {}

  /// Its connection has ended, or the call's deadline has passed: nobody will hear the answer.
  bool has_gone() const { return gone_.is_set(); }
  /// Completes when it has; not before, however the call ends. To be awaited beside the work
  /// (awaitable_operators), not alone.
  asio::awaitable<void> gone() const { return gone_.wait(); }

 private:
  sys::Event gone_;
};

/// A Handler that wants to know whether its answer is still waited for.
using CallHandler = std::function<Async<std::string>(std::string payload, Caller caller)>;

/// Whether a method's calls count for ServerLimits::running_requests. ttrpc does not tell that a
/// client has given a call up: one that waits for an end far away would keep its place until then.
enum class Duration { kBounded, kOpenEnded };

struct ServerLimits {
  /// Requests of one connection that are being handled; further ones wait in the socket.
  size_t running_requests = 1024;
  /// Replies of one connection that its client has not read; above it no request is read from it.
  size_t queued_reply_bytes = 8 * 1024 * 1024;
};

/// Used on one executor. Destroying it closes everything; handlers in flight still run to their
/// end, so what they use must live as long as the executor runs.
class Server {
 public:
  explicit Server(asio::any_io_executor executor, ServerLimits limits = {});
  ~Server();

  /// Before serve(). A name that is taken is replaced.
  void add_method(std::string service, std::string method, Handler handler,
                  Duration duration = Duration::kBounded);
  void add_method(std::string service, std::string method, CallHandler handler,
                  Duration duration = Duration::kBounded);

  size_t connections() const;
  /// Requests that are being handled, of connections that have ended too.
  size_t running_requests() const;
  /// Is called after either of them has changed, from the middle of the server's work: it must
  /// neither throw nor destroy the server. Never called again when the server has been destroyed.
  void on_change(std::function<void()> changed);

  /// Accepts on a listening unix socket. Peers of another user than this process's are refused.
  Status serve(UniqueFd listener);

  /// No further connection is accepted and the listening socket is closed.
  void stop_accepting();

  /// Completes when no request is being handled and clients have taken every reply, or after
  /// `limit`.
  asio::awaitable<void> idle(std::chrono::milliseconds limit);
  /// Completes when clients have closed every connection, or after `limit`.
  asio::awaitable<void> deserted(std::chrono::milliseconds limit);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace kata::ttrpc
