#include "shim/ttrpc/server.h"

#include <array>
#include <memory>
#include <stdexcept>

#include <boost/asio/write.hpp>
#include <catch2/catch.hpp>
#include <fcntl.h>

#include "common/log/log.h"
#include "common/sys/event.h"
#include "shim/ttrpc/client.h"
#include "shim/ttrpc/test_support.h"

namespace kata::ttrpc {
namespace {

using testing::connect_raw;
using testing::encode_request;
using testing::RawAnswer;
using testing::read_answer;
using testing::run;
using testing::run_until;

constexpr std::chrono::milliseconds kLong{60'000};

struct ServerFixture {
  ServerFixture() : server(context.get_executor(), limits()) {
    server.add_method("svc", "Echo",
                      [](std::string payload) -> Async<std::string> { co_return payload; });
    server.add_method("svc", "Wait", [this](std::string) -> Async<std::string> {
      ++waiting;
      co_await released.wait();
      ++finished;
      co_return "released";
    });
    server.add_method(
        "svc", "WaitForLong",
        [this](std::string) -> Async<std::string> {
          ++waiting;
          co_await released.wait();
          co_return "released";
        },
        Duration::kOpenEnded);
    server.add_method("svc", "Release", [this](std::string) -> Async<std::string> {
      released.set();
      co_return "";
    });
    server.add_method("svc", "Fail", [](std::string) -> Async<std::string> {
      co_return fail(Code::kFailedPrecondition, "not now");
    });
    server.add_method("svc", "Throw", [](std::string) -> Async<std::string> {
      throw std::runtime_error("thrown");
      co_return "";
    });
    server.add_method("svc", "Big", [this](std::string payload) -> Async<std::string> {
      ++big;
      co_return std::string(static_cast<size_t>(std::stoul(payload)), 'b');
    });
    auto listener = sys::listen_unix(path);
    REQUIRE(listener);
    REQUIRE(server.serve(*std::move(listener)));
  }
  static ServerLimits limits() { return {.running_requests = 4, .queued_reply_bytes = 1 << 20}; }

  std::unique_ptr<Client> client() {
    auto connected = run(context, Client::connect(context.get_executor(), path));
    REQUIRE(connected);
    return *std::move(connected);
  }

  testing::TemporaryDirectory directory;
  std::filesystem::path path = directory / "sock";
  asio::io_context context{1};
  sys::Event released{context.get_executor()};
  int waiting = 0;
  int finished = 0;
  int big = 0;
  Server server;
};

TEST_CASE_METHOD(ServerFixture, "a call is answered") {
  auto c = client();
  CHECK(run(context, c->call("svc", "Echo", "hello")).value() == "hello");
  CHECK(run(context, c->call("svc", "Echo", "")).value().empty());
}

TEST_CASE_METHOD(ServerFixture, "requests of a connection run at the same time") {
  auto channel = connect_raw(context, path);
  channel->send(1, kTypeRequest, encode_request("svc", "Wait"));
  channel->send(3, kTypeRequest, encode_request("svc", "Echo", "second"));
  channel->send(5, kTypeRequest, encode_request("svc", "Release"));
  CHECK(run(context, read_answer(channel)).stream_id == 3);
  RawAnswer third = run(context, read_answer(channel));
  RawAnswer first = run(context, read_answer(channel));
  if (first.stream_id != 1) std::swap(first, third);
  CHECK(first.payload == "released");
  CHECK(third.stream_id == 5);
}

TEST_CASE_METHOD(ServerFixture, "errors keep their codes") {
  auto c = client();
  auto failed = run(context, c->call("svc", "Fail", ""));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == Code::kFailedPrecondition);
  CHECK(failed.error().message() == "not now");

  auto no_service = run(context, c->call("other", "Echo", ""));
  CHECK(no_service.error().code() == Code::kUnimplemented);
  CHECK(no_service.error().message() == "service other");
  auto no_method = run(context, c->call("svc", "Nope", ""));
  CHECK(no_method.error().code() == Code::kUnimplemented);
  CHECK(no_method.error().message() == "method Nope");

  auto thrown = run(context, c->call("svc", "Throw", ""));
  CHECK(thrown.error().code() == Code::kInternal);
  CHECK(run(context, c->call("svc", "Echo", "still")).value() == "still");
}

TEST_CASE_METHOD(ServerFixture, "a deadline is honoured and the handler finishes harmlessly") {
  auto channel = connect_raw(context, path);
  channel->send(1, kTypeRequest, encode_request("svc", "Wait", "", 1'000'000));
  RawAnswer answer = run(context, read_answer(channel));
  CHECK(answer.stream_id == 1);
  CHECK(answer.code == static_cast<int>(Code::kDeadlineExceeded));
  channel->send(3, kTypeRequest, encode_request("svc", "Release"));
  CHECK(run(context, read_answer(channel)).stream_id == 3);
  run_until(context, [&] { return finished == 1; });
  channel->send(5, kTypeRequest, encode_request("svc", "Echo", "next"));
  CHECK(run(context, read_answer(channel)).payload == "next");
}

TEST_CASE_METHOD(ServerFixture, "a deadline that has passed already is no call at all") {
  auto channel = connect_raw(context, path);
  channel->send(1, kTypeRequest, encode_request("svc", "Wait", "", -1));
  CHECK(run(context, read_answer(channel)).code == static_cast<int>(Code::kDeadlineExceeded));
  CHECK(waiting == 0);
}

TEST_CASE_METHOD(ServerFixture, "an answer in time stops the clock") {
  auto channel = connect_raw(context, path);
  channel->send(1, kTypeRequest, encode_request("svc", "Echo", "quick", 60'000'000'000));
  CHECK(run(context, read_answer(channel)).payload == "quick");
  run(context, server.idle(kLong));
}

TEST_CASE_METHOD(ServerFixture, "what the protocol forbids is answered, and the connection lives") {
  auto channel = connect_raw(context, path);
  channel->send(2, kTypeRequest, encode_request("svc", "Echo"));
  CHECK(run(context, read_answer(channel)).code == static_cast<int>(Code::kInvalidArgument));
  channel->send(5, kTypeRequest, encode_request("svc", "Echo", "five"));
  CHECK(run(context, read_answer(channel)).payload == "five");
  channel->send(5, kTypeRequest, encode_request("svc", "Echo"));
  CHECK(run(context, read_answer(channel)).code == static_cast<int>(Code::kInvalidArgument));
  channel->send(7, kTypeRequest, "\xff\xff\xff");
  CHECK(run(context, read_answer(channel)).code == static_cast<int>(Code::kInvalidArgument));
  channel->send(7, kTypeData, "data");
  CHECK(run(context, read_answer(channel)).code == static_cast<int>(Code::kInvalidArgument));
  channel->send(9, 77, "a type of the future");
  channel->send(11, kTypeRequest, encode_request("svc", "Echo", "eleven"));
  CHECK(run(context, read_answer(channel)).stream_id == 11);
}

TEST_CASE_METHOD(ServerFixture, "oversized messages are refused in both directions") {
  auto channel = connect_raw(context, path);
  channel->send(1, kTypeRequest, encode_request("svc", "Echo", std::string(kMaxMessageBytes, 'x')));
  RawAnswer request = run(context, read_answer(channel));
  CHECK(request.stream_id == 1);
  CHECK(request.code == static_cast<int>(Code::kResourceExhausted));
  channel->send(3, kTypeRequest,
                encode_request("svc", "Big", std::to_string(kMaxMessageBytes + 1)));
  RawAnswer reply = run(context, read_answer(channel));
  CHECK(reply.stream_id == 3);
  CHECK(reply.code == static_cast<int>(Code::kResourceExhausted));
  channel->send(5, kTypeRequest, encode_request("svc", "Echo", "fine"));
  CHECK(run(context, read_answer(channel)).payload == "fine");
}

TEST_CASE_METHOD(ServerFixture, "garbage ends the connection with one log line") {
  std::array<int, 2> log_pipe{};
  REQUIRE(pipe2(log_pipe.data(), O_NONBLOCK | O_CLOEXEC) == 0);
  log::set_output(log_pipe[1]);
  Socket socket(context);
  socket.connect(asio::local::stream_protocol::endpoint(path.native()));
  std::string garbage = "GET / HTTP/1.1\r\n\r\n";
  asio::write(socket, asio::buffer(garbage));
  auto channel = std::make_shared<Channel>(std::move(socket));
  auto ended = run(context, channel->read());
  log::set_output(STDERR_FILENO);
  REQUIRE_FALSE(ended);
  CHECK(ended.error().code() == Code::kUnavailable);
  std::string lines(4096, 0);
  ssize_t length = read(log_pipe[0], lines.data(), lines.size());
  REQUIRE(length > 0);
  lines.resize(static_cast<size_t>(length));
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 1);
  CHECK(lines.find("does not speak ttrpc") != std::string::npos);
  close(log_pipe[0]);
  close(log_pipe[1]);
  CHECK(run(context, client()->call("svc", "Echo", "others live")).value() == "others live");
}

TEST_CASE_METHOD(ServerFixture, "a client that does not read holds up only itself") {
  constexpr int kRequests = 40;
  constexpr size_t kReplyBytes = 256 * 1024;
  auto slow = connect_raw(context, path);
  for (int i = 0; i < kRequests; ++i)
    slow->send(static_cast<uint32_t>(2 * i + 1), kTypeRequest,
               encode_request("svc", "Big", std::to_string(kReplyBytes)));
  auto c = client();
  for (int i = 0; i < 100; ++i)
    REQUIRE(run(context, c->call("svc", "Echo", "quick")).value() == "quick");
  CHECK(big < kRequests);  // 1 MiB of replies and what fits into the socket
  for (int i = 0; i < kRequests; ++i)
    CHECK(run(context, read_answer(slow)).payload.size() == kReplyBytes);
  CHECK(big == kRequests);
}

TEST_CASE_METHOD(ServerFixture, "requests beyond the limit wait until others have finished") {
  auto channel = connect_raw(context, path);
  for (uint32_t i = 0; i < 6; ++i)
    channel->send(2 * i + 1, kTypeRequest, encode_request("svc", "Wait"));
  run_until(context, [&] { return waiting == 4; });
  CHECK(run(context, client()->call("svc", "Release", "")));
  for (int i = 0; i < 6; ++i) CHECK(run(context, read_answer(channel)).payload == "released");
}

TEST_CASE_METHOD(ServerFixture, "a client that goes away during a call is no harm") {
  {
    auto channel = connect_raw(context, path);
    channel->send(1, kTypeRequest, encode_request("svc", "Wait"));
    run_until(context, [&] { return waiting == 1; });
    channel->close();
  }
  auto c = client();
  CHECK(run(context, c->call("svc", "Release", "")));
  run_until(context, [&] { return finished == 1; });
  CHECK(run(context, c->call("svc", "Echo", "alive")).value() == "alive");
}

TEST_CASE_METHOD(ServerFixture, "idle waits for running requests, but not longer than asked") {
  auto channel = connect_raw(context, path);
  channel->send(1, kTypeRequest, encode_request("svc", "Wait"));
  run_until(context, [&] { return waiting == 1; });
  run(context, server.idle(std::chrono::milliseconds(1)));
  CHECK(finished == 0);
  released.set();
  run(context, server.idle(kLong));
  CHECK(finished == 1);
}

TEST_CASE_METHOD(ServerFixture,
                 "deserted waits for clients to hang up, but not longer than asked") {
  run(context, server.deserted(kLong));
  auto channel = connect_raw(context, path);
  channel->send(1, kTypeRequest, encode_request("svc", "Echo", "answered"));
  CHECK(run(context, read_answer(channel)).payload == "answered");
  run(context, server.deserted(std::chrono::milliseconds(1)));
  CHECK(server.connections() == 1);
  channel->close();
  run(context, server.deserted(kLong));
  CHECK(server.connections() == 0);
}

TEST_CASE_METHOD(ServerFixture, "a server that accepts no more still serves who is there") {
  auto c = client();
  CHECK(run(context, c->call("svc", "Echo", "before")));
  server.stop_accepting();
  CHECK(run(context, c->call("svc", "Echo", "after")).value() == "after");
  auto refused = run(context, Client::connect(context.get_executor(), path));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Code::kUnavailable);
}

}  // namespace
}  // namespace kata::ttrpc
