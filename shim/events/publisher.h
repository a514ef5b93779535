// Forwards events to containerd over ttrpc: containerd.services.events.ttrpc.v1.Events/Forward.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

#include "common/sys/async.h"
#include "shim/events/event_sink.h"

namespace kata::events {

struct PublisherOptions {
  /// containerd's ttrpc socket (TTRPC_ADDRESS). Empty: events are dropped, with one warning.
  std::filesystem::path address;
  /// containerd namespace of the events.
  std::string nspace;
  /// As many as containerd's own publisher keeps.
  size_t max_queued = 2048;
  /// Between attempts while containerd cannot be reached: doubled up to the maximum.
  std::chrono::milliseconds first_pause{100};
  std::chrono::milliseconds max_pause{5000};
};

/// Sends one event after the other, each until containerd has answered. While containerd is away
/// (it restarts without its shims) events wait in the queue; when that is full, the newest is
/// dropped and logged. There is no time limit on an answer: a second copy of an event is sent only
/// when the connection broke, and then the containerd that may have seen the first is gone.
/// Used on one executor.
class Publisher : public EventSink {
 public:
  Publisher(asio::any_io_executor executor, PublisherOptions options);
  ~Publisher() override;

  void publish(std::string topic, const google::protobuf::MessageLite& event) override;

  /// Completes when containerd has taken every event, or after `limit`; what is left is then kept.
  /// Answers whether all were taken.
  asio::awaitable<bool> flush(std::chrono::milliseconds limit);

  /// Drops what is queued and sends nothing any more.
  void close();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace kata::events
