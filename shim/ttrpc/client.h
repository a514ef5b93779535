// ttrpc client on a unix socket (github.com/containerd/ttrpc, PROTOCOL.md: unary requests).
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "common/sys/async.h"
#include "common/sys/promise.h"
#include "shim/ttrpc/channel.h"

namespace kata::ttrpc {

/// One connection. Calls may overlap. Used on one executor. Destroying it closes the connection;
/// calls in flight answer Unavailable.
class Client {
 public:
  /// NotFound: no such socket. Unavailable: nobody listens there, or its queue is full.
  static Async<std::unique_ptr<Client>> connect(asio::any_io_executor executor,
                                                std::filesystem::path socket_path);
  ~Client();

  /// The response's payload. The server's error keeps its code. Unavailable: the connection has
  /// ended and whether the server has acted is unknown. DeadlineExceeded: no answer within
  /// `timeout`, which the server is told of too; zero waits as long as the connection lasts.
  Async<std::string> call(std::string service, std::string method, std::string payload,
                          std::chrono::nanoseconds timeout = {});

  bool is_open() const;

 private:
  using Answer = sys::Promise<Result<std::string>>;
  struct State {
    std::shared_ptr<Channel> channel;
    std::map<uint32_t, Answer> waiting;
    uint32_t next_stream_id = 1;
  };
  explicit Client(std::shared_ptr<State> state) : state_(std::move(state)) {}
  static asio::awaitable<void> read_answers(std::shared_ptr<State> state);
  static Async<std::string> call_on(std::shared_ptr<State> state, std::string service,
                                    std::string method, std::string payload,
                                    std::chrono::nanoseconds timeout);

  std::shared_ptr<State> state_;
};

}  // namespace kata::ttrpc
