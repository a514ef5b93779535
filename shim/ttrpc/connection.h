// Server side of one connection: requests to handlers, answers to the channel. Private to
// server.cc.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include <boost/asio/steady_timer.hpp>

#include "common/sys/async.h"
#include "common/sys/event.h"
#include "shim/ttrpc/channel.h"
#include "shim/ttrpc/server.h"

namespace kata::ttrpc {

struct Method {
  CallHandler handler;
  Duration duration = Duration::kBounded;
};

/// Service, then method.
using Methods = std::map<std::string, std::map<std::string, Method, std::less<>>, std::less<>>;

/// What goes on in a server; shared with connections that outlive it.
struct Activity {
  size_t running_requests = 0;
  std::function<void()> changed;  // may be empty

  void tell() const {
    if (changed) changed();
  }
};

/// Owned by shared_ptr: a handler that outlives the connection still holds it.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Socket socket, std::shared_ptr<const Methods> methods,
             std::shared_ptr<Activity> activity, ServerLimits limits);

  /// Serves until the connection ends.
  asio::awaitable<void> run();
  void close() { channel_->close(); }
  /// Completes when no request is being handled and the client has taken every reply.
  asio::awaitable<void> idle();
  /// Completes when run() has.
  asio::awaitable<void> ended() const { return ended_.wait(); }

 private:
  struct Call;

  asio::awaitable<void> wait_for_room();
  void take(Frame frame);
  void take_request(const Frame& frame);
  void start(uint32_t stream_id, const Method& method, std::string payload,
             int64_t timeout_nanoseconds);
  void finish(const std::shared_ptr<Call>& call, Result<std::string> outcome);
  void answer(Call& call, Result<std::string> outcome);
  void answer_error(uint32_t stream_id, const Error& error);

  std::shared_ptr<Channel> channel_;
  std::shared_ptr<const Methods> methods_;
  std::shared_ptr<Activity> activity_;
  ServerLimits limits_;
  asio::any_io_executor executor_;
  uint32_t last_stream_id_ = 0;
  std::set<std::shared_ptr<Call>> running_;
  size_t bounded_running_ = 0;
  asio::steady_timer finished_;  // cancelled whenever running_ shrinks
  sys::Event ended_;
};

}  // namespace kata::ttrpc
