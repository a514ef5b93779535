// Client of the QEMU Machine Protocol over a connected socket.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "common/base/unique_fd.h"
#include "common/sys/async.h"

namespace kata::hypervisor {

/// One monitor connection. Used on one executor, and on its only thread; calls may overlap.
/// Destroying it closes the socket; calls that are under way answer Unavailable.
class QmpClient {
 public:
  using EventHandler = std::function<void(const std::string& name, const nlohmann::json& data)>;

  /// For one command: what takes time in QEMU goes on behind the answer and ends with an event.
  static constexpr std::chrono::seconds kAnswerLimit{30};

  /// `socket` is a connected stream socket. `on_event` is called on the executor.
  QmpClient(asio::any_io_executor executor, UniqueFd socket, EventHandler on_event,
            std::chrono::milliseconds answer_limit = kAnswerLimit);
  ~QmpClient();
  QmpClient(const QmpClient&) = delete;
  QmpClient& operator=(const QmpClient&) = delete;

  /// Waits for the greeting and leaves negotiation mode. To be awaited once, before execute().
  /// Unavailable: QEMU closed the connection.
  Async<void> handshake();

  /// Runs one command and gives its return value. The error has QEMU's description. Unavailable:
  /// the connection is gone. DeadlineExceeded: no answer, a late one is ignored.
  Async<nlohmann::json> execute(std::string command,
                                nlohmann::json arguments = nlohmann::json::object());

  /// The same with a descriptor that travels along (SCM_RIGHTS), for getfd. `fd` is duplicated
  /// before this suspends.
  Async<nlohmann::json> execute_with_fd(std::string command, nlohmann::json arguments, int fd);

  /// Completes when the connection has ended and every event before its end has been handled.
  asio::awaitable<void> wait_closed();

  /// From the greeting, e.g. "7.2.22"; empty before it.
  const std::string& qemu_version() const;

 private:
  struct State;
  static asio::awaitable<void> read_loop(std::shared_ptr<State> state);
  static asio::awaitable<void> write_loop(std::shared_ptr<State> state);
  static Async<void> handshake(std::shared_ptr<State> state);
  static Async<nlohmann::json> execute(std::shared_ptr<State> state, std::string command,
                                       nlohmann::json arguments, UniqueFd fd);

  std::shared_ptr<State> state_;
};

}  // namespace kata::hypervisor
