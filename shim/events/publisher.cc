#include "shim/events/publisher.h"

#include <algorithm>
#include <deque>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>

#include "common/log/log.h"
#include "containerd/events.pb.h"
#include "shim/events/timestamp.h"
#include "shim/ttrpc/client.h"

namespace kata::events {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr const char* kService = "containerd.services.events.ttrpc.v1.Events";
constexpr const char* kMethod = "Forward";
// containerd's own publisher gives up an event that was refused this often.
constexpr int kMaxRefusals = 5;

}  // namespace

struct Publisher::State {
  State(asio::any_io_executor used_executor, PublisherOptions used_options)
      : executor(std::move(used_executor)),
        options(std::move(used_options)),
        pause(options.first_pause),
        changed(executor, asio::steady_timer::time_point::max()),
        pausing(executor) {}

  struct Item {
    std::string topic;
    std::string request;  // an encoded ForwardRequest
    int refusals = 0;
  };

  asio::any_io_executor executor;
  PublisherOptions options;
  std::deque<Item> queue;
  size_t dropped = 0;
  bool sending = false;
  bool closed = false;
  bool warned = false;
  std::chrono::milliseconds pause;
  std::unique_ptr<ttrpc::Client> client;
  asio::steady_timer changed;  // cancelled whenever the queue becomes empty
  asio::steady_timer pausing;

  static asio::awaitable<void> send_queue(std::shared_ptr<State> self);
  static Async<void> send(std::shared_ptr<State> self, std::string request);
  static asio::awaitable<void> wait_pause(std::shared_ptr<State> self);
  bool settle(const Status& sent);
};

Publisher::Publisher(asio::any_io_executor executor, PublisherOptions options)
    : state_(std::make_shared<State>(std::move(executor), std::move(options))) {}

Publisher::~Publisher() { close(); }

void Publisher::publish(std::string topic, const google::protobuf::MessageLite& event) {
  State& state = *state_;
  if (state.closed) return;
  if (state.options.address.empty()) {
    if (!std::exchange(state.warned, true))
      log::warning("TTRPC_ADDRESS is not set: containerd is told of no event");
    return;
  }
  if (state.queue.size() >= state.options.max_queued) {
    if (state.dropped++ == 0)
      log::error("containerd takes no events and the queue is full: dropping the newest",
                 {{"topic", topic}, {"queued", std::to_string(state.queue.size())}});
    return;
  }
  containerd::services::events::ttrpc::v1::ForwardRequest request;
  auto& envelope = *request.mutable_envelope();
  set_timestamp(*envelope.mutable_timestamp(), std::chrono::system_clock::now());
  envelope.set_namespace_(state.options.nspace);
  envelope.set_topic(topic);
  envelope.mutable_event()->set_type_url(event.GetTypeName());
  event.SerializeToString(envelope.mutable_event()->mutable_value());
  state.queue.push_back({std::move(topic), request.SerializeAsString()});
  if (std::exchange(state.sending, true)) return;
  asio::co_spawn(state.executor, State::send_queue(state_), asio::detached);
}

asio::awaitable<bool> Publisher::flush(std::chrono::milliseconds limit) {
  auto state = state_;
  asio::steady_timer deadline(state->executor, limit);
  while (!state->queue.empty() && deadline.expiry() > std::chrono::steady_clock::now()) {
    co_await (state->changed.async_wait(asio::as_tuple(asio::use_awaitable)) ||
              deadline.async_wait(asio::as_tuple(asio::use_awaitable)));
  }
  co_return state->queue.empty();
}

void Publisher::close() {
  state_->closed = true;
  state_->queue.clear();
  state_->client.reset();
  state_->changed.cancel();
  state_->pausing.cancel();
}

asio::awaitable<void> Publisher::State::send_queue(std::shared_ptr<State> self) {
  while (!self->closed && !self->queue.empty()) {
    Status sent = co_await send(self, self->queue.front().request);
    if (self->closed) break;
    if (self->settle(sent)) {
      self->queue.pop_front();
      self->pause = self->options.first_pause;
      if (self->queue.empty()) self->changed.cancel();
    } else {
      co_await wait_pause(self);
    }
  }
  self->sending = false;
}

Async<void> Publisher::State::send(std::shared_ptr<State> self, std::string request) {
  if (!self->client || !self->client->is_open()) {
    self->client.reset();
    KATA_CO_TRY(auto client,
                co_await ttrpc::Client::connect(self->executor, self->options.address));
    if (self->closed) co_return fail(Code::kCancelled, "the publisher is closed");
    self->client = std::move(client);
  }
  KATA_CO_TRY([[maybe_unused]] auto answer,
              co_await self->client->call(kService, kMethod, std::move(request)));
  co_return Status{};
}

/// Whether the first event is done with: taken, or refused too often.
bool Publisher::State::settle(const Status& sent) {
  Item& item = queue.front();
  if (sent) {
    if (std::exchange(warned, false)) log::info("containerd takes events again");
    if (dropped > 0) log::error("events were dropped", {{"count", std::to_string(dropped)}});
    dropped = 0;
    return true;
  }
  bool refused = client && client->is_open();
  if (!refused) {
    if (!std::exchange(warned, true))
      log::warning("cannot reach containerd for events: keeping them",
                   {{"error", sent.error().message()}});
    return false;
  }
  log::error("containerd refused an event",
             {{"topic", item.topic}, {"error", sent.error().message()}});
  return ++item.refusals > kMaxRefusals || sent.error().code() == Code::kInvalidArgument;
}

asio::awaitable<void> Publisher::State::wait_pause(std::shared_ptr<State> self) {
  self->pausing.expires_after(self->pause);
  self->pause = std::min(self->pause * 2, self->options.max_pause);
  boost::system::error_code cancelled;
  co_await self->pausing.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
}

}  // namespace kata::events
