#include "shim/ttrpc/client.h"

#include <catch2/catch.hpp>

#include "shim/ttrpc/test_support.h"

namespace kata::ttrpc {
namespace {

using testing::run;
using testing::run_until;

/// A server whose every frame the test writes itself.
struct ClientFixture {
  ClientFixture() : acceptor(context, asio::local::stream_protocol::endpoint(path.native())) {
    auto connected = run(context, Client::connect(context.get_executor(), path));
    REQUIRE(connected);
    client = *std::move(connected);
    peer = std::make_shared<Channel>(acceptor.accept());
  }

  /// Starts a call; its outcome appears in `outcome`.
  void call(std::optional<Result<std::string>>& outcome, std::chrono::nanoseconds timeout = {}) {
    asio::co_spawn(context, client->call("svc", "Method", "payload", timeout),
                   [&](std::exception_ptr, Result<std::string> result) { outcome = result; });
  }
  Frame next_request() {
    auto frame = run(context, peer->read());
    REQUIRE(frame);
    return *std::move(frame);
  }
  void reply(uint32_t stream_id, const std::string& payload) {
    ::ttrpc::Response response;
    response.set_payload(payload);
    peer->send(stream_id, kTypeResponse, response.SerializeAsString());
  }

  testing::TemporaryDirectory directory;
  std::filesystem::path path = directory / "sock";
  asio::io_context context{1};
  asio::local::stream_protocol::acceptor acceptor;
  std::unique_ptr<Client> client;
  std::shared_ptr<Channel> peer;
};

TEST_CASE_METHOD(ClientFixture, "a request is what the protocol says") {
  std::optional<Result<std::string>> outcome;
  call(outcome, std::chrono::seconds(60));
  Frame frame = next_request();
  CHECK(frame.header.stream_id == 1);
  CHECK(frame.header.type == kTypeRequest);
  CHECK(frame.header.flags == 0);
  ::ttrpc::Request request;
  REQUIRE(request.ParseFromString(frame.payload));
  CHECK(request.service() == "svc");
  CHECK(request.method() == "Method");
  CHECK(request.payload() == "payload");
  CHECK(request.timeout_nano() == 60'000'000'000);
  reply(1, "done");
  run_until(context, [&] { return outcome.has_value(); });
  CHECK(outcome->value() == "done");
}

TEST_CASE_METHOD(ClientFixture, "answers may come in any order") {
  std::optional<Result<std::string>> first;
  std::optional<Result<std::string>> second;
  call(first);
  call(second);
  CHECK(next_request().header.stream_id == 1);
  CHECK(next_request().header.stream_id == 3);
  reply(7, "nobody asked");
  reply(3, "two");
  reply(1, "one");
  run_until(context, [&] { return first && second; });
  CHECK(first->value() == "one");
  CHECK(second->value() == "two");
}

TEST_CASE_METHOD(ClientFixture, "calls in flight end with the connection") {
  std::optional<Result<std::string>> outcome;
  call(outcome);
  next_request();
  SECTION("the server goes") { peer->close(); }
  SECTION("the client is destroyed") { client.reset(); }
  run_until(context, [&] { return outcome.has_value(); });
  REQUIRE_FALSE(*outcome);
  CHECK(outcome->error().code() == Code::kUnavailable);
  if (client) {
    CHECK_FALSE(client->is_open());
    CHECK(run(context, client->call("svc", "Method", "")).error().code() == Code::kUnavailable);
  }
}

TEST_CASE_METHOD(ClientFixture, "a call without an answer ends at its timeout") {
  auto late = run(context, client->call("svc", "Method", "", std::chrono::milliseconds(1)));
  REQUIRE_FALSE(late);
  CHECK(late.error().code() == Code::kDeadlineExceeded);
  next_request();
  reply(1, "too late");
  std::optional<Result<std::string>> outcome;
  call(outcome);
  CHECK(next_request().header.stream_id == 3);
  reply(3, "in time");
  run_until(context, [&] { return outcome.has_value(); });
  CHECK(outcome->value() == "in time");
}

TEST_CASE_METHOD(ClientFixture, "an answer that cannot be decoded is an error of its call") {
  std::optional<Result<std::string>> outcome;
  call(outcome);
  next_request();
  peer->send(1, kTypeResponse, "\xff\xff");
  run_until(context, [&] { return outcome.has_value(); });
  CHECK(outcome->error().code() == Code::kInternal);
  CHECK(client->is_open());
}

TEST_CASE("connecting to nobody") {
  asio::io_context context;
  testing::TemporaryDirectory directory;
  auto none = run(context, Client::connect(context.get_executor(), directory / "none"));
  CHECK(none.error().code() == Code::kNotFound);
  std::string far(200, 'x');
  auto too_long = run(context, Client::connect(context.get_executor(), directory / far.c_str()));
  CHECK(too_long.error().code() == Code::kInvalidArgument);
}

}  // namespace
}  // namespace kata::ttrpc
