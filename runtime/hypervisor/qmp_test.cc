#include "runtime/hypervisor/qmp.h"

#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/hypervisor/qmp_message.h"

namespace kata::hypervisor {
namespace {

using nlohmann::json;

constexpr std::string_view kGreeting =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
    "\"package\": \"Debian\"}, \"capabilities\": [\"oob\"]}}\r\n";

TEST_CASE("messages are recognised") {
  QmpParser parser;
  const auto messages = parser.feed(
      std::string(kGreeting) +
      "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\r\n"
      "{\"return\": {\"a\": 1}, \"id\": 4}\n"
      "\n"
      "{\"id\": 5, \"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"Device 'x' gone\"}}\r\n");
  REQUIRE(messages.has_value());
  REQUIRE(messages->size() == 4);
  CHECK(std::get<QmpGreeting>((*messages)[0]).qemu_version == "7.2.22");
  CHECK(std::get<QmpEvent>((*messages)[1]).name == "SHUTDOWN");
  CHECK(std::get<QmpEvent>((*messages)[1]).data["reason"] == "guest-reset");
  CHECK(std::get<QmpReply>((*messages)[2]).id == 4);
  CHECK(*std::get<QmpReply>((*messages)[2]).result == json{{"a", 1}});
  const auto& failed = std::get<QmpReply>((*messages)[3]);
  REQUIRE_FALSE(failed.result.has_value());
  CHECK(failed.result.error().code() == Code::kNotFound);
  CHECK(failed.result.error().message() == "QEMU: Device 'x' gone");
}

TEST_CASE("a message may come byte by byte") {
  QmpParser parser;
  size_t count = 0;
  for (const char c : kGreeting) {
    const auto messages = parser.feed(std::string_view(&c, 1));
    REQUIRE(messages.has_value());
    count += messages->size();
  }
  CHECK(count == 1);
}

TEST_CASE("what is no QMP is refused") {
  for (const char* line :
       {"hello", "[]", "42", "{}", "{\"return\": {}}", "{\"id\": -1}", "{\"id\": 1}",
        "{\"id\": 1, \"error\": 2}", "{\"event\": 3}", "{\"a\":", "\x1b[31m\xff"}) {
    QmpParser parser;
    const auto messages = parser.feed(std::string(line) + "\n");
    INFO(line);
    REQUIRE_FALSE(messages.has_value());
    CHECK(messages.error().code() == Code::kInvalidArgument);
    for (const char c : messages.error().message()) CHECK((c >= 0x20 && c < 0x7f));
  }
}

TEST_CASE("a greeting with a strange version is taken without one") {
  for (const char* version : {"7", "{\"qemu\": 7}", "{\"qemu\": {\"major\": 7}}", "null"}) {
    QmpParser parser;
    const auto messages = parser.feed("{\"QMP\": {\"version\": " + std::string(version) + "}}\n");
    REQUIRE(messages.has_value());
    CHECK(std::get<QmpGreeting>(messages->front()).qemu_version.empty());
  }
}

TEST_CASE("a line without end is refused and not kept") {
  QmpParser parser;
  const std::string chunk(64 * 1024, ' ');
  size_t fed = 0;
  while (parser.feed(chunk).has_value()) {
    fed += chunk.size();
    REQUIRE(fed <= QmpParser::kMaxLineBytes);
  }
  CHECK(fed == QmpParser::kMaxLineBytes);
}

TEST_CASE("deep nesting is cut, not followed") {
  QmpParser parser;
  constexpr size_t kDepth = 100000;
  const std::string deep =
      "{\"event\": \"E\", \"data\": " + std::string(kDepth, '[') + std::string(kDepth, ']') + "}\n";
  REQUIRE(deep.size() < QmpParser::kMaxLineBytes);
  CHECK(parser.feed(deep).has_value());
}

/// A client and a script that plays QEMU, on one io_context.
class Conversation {
 public:
  explicit Conversation(std::chrono::milliseconds answer_limit = QmpClient::kAnswerLimit) {
    std::array<int, 2> pair;
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0);
    qemu_.emplace(io_, asio::local::stream_protocol(), pair[1]);
    client_.emplace(
        io_.get_executor(), UniqueFd(pair[0]),
        [this](const std::string& name, const json&) { events_.push_back(name); }, answer_limit);
  }

  asio::awaitable<void> say(std::string text) {
    const auto bytes = asio::buffer(text);
    co_await asio::async_write(*qemu_, bytes, asio::use_awaitable);
  }
  asio::awaitable<json> hear() {
    auto buffer = asio::dynamic_buffer(heard_);
    const size_t size = co_await asio::async_read_until(*qemu_, buffer, '\n', asio::use_awaitable);
    const json request = json::parse(heard_.substr(0, size));
    heard_.erase(0, size);
    co_return request;
  }
  /// The next request must bring a descriptor.
  asio::awaitable<std::pair<json, UniqueFd>> hear_with_fd() {
    co_await qemu_->async_wait(asio::socket_base::wait_read, asio::use_awaitable);
    UniqueFd fd = receive_with_fd();
    json request = co_await hear();
    co_return std::pair(std::move(request), std::move(fd));
  }
  void hang_up() { qemu_.reset(); }

  void spawn(asio::awaitable<void> part) {
    asio::co_spawn(io_, std::move(part), [](std::exception_ptr thrown) {
      if (thrown) std::rethrow_exception(thrown);
    });
  }
  void run() { io_.run(); }
  QmpClient& client() { return *client_; }
  void close_client() { client_.reset(); }
  const std::vector<std::string>& events() const { return events_; }

 private:
  /// Adds what there is to heard_.
  UniqueFd receive_with_fd() {
    std::array<char, 1024> bytes;
    iovec vector{bytes.data(), bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t size = ::recvmsg(qemu_->native_handle(), &message, MSG_CMSG_CLOEXEC);
    REQUIRE(size > 0);
    heard_.append(bytes.data(), static_cast<size_t>(size));
    const cmsghdr* rights = CMSG_FIRSTHDR(&message);
    REQUIRE(rights != nullptr);
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    return UniqueFd(fd);
  }

  asio::io_context io_;
  std::optional<asio::local::stream_protocol::socket> qemu_;
  std::optional<QmpClient> client_;
  std::string heard_;
  std::vector<std::string> events_;
};

asio::awaitable<void> greet(Conversation& talk) {
  co_await talk.say(std::string(kGreeting));
  const json request = co_await talk.hear();
  CHECK(request["execute"] == "qmp_capabilities");
  const json answer = {{"return", json::object()}, {"id", request["id"]}};
  co_await talk.say(answer.dump() + "\n");
}

asio::awaitable<void> out_of_order_qemu(Conversation& talk) {
  co_await greet(talk);
  const json first = co_await talk.hear();
  const json second = co_await talk.hear();
  const json answer2 = {{"return", second["execute"]}, {"id", second["id"]}};
  const json answer1 = {{"return", first["execute"]}, {"id", first["id"]}};
  co_await talk.say("{\"event\": \"RESUME\"}\r\n" + answer2.dump() + "\n" +
                    "{\"return\": 0, \"id\": 999}\n" + answer1.dump() + "\n");
}

asio::awaitable<void> ask(Conversation& talk, std::string command, int& answered) {
  const auto reply = co_await talk.client().execute(command);
  REQUIRE(reply.has_value());
  CHECK(*reply == command);
  if (++answered == 2) talk.close_client();
}

asio::awaitable<void> ask_twice(Conversation& talk, int& answered) {
  const auto greeted = co_await talk.client().handshake();
  REQUIRE(greeted.has_value());
  CHECK(talk.client().qemu_version() == "7.2.22");
  talk.spawn(ask(talk, "query-status", answered));
  talk.spawn(ask(talk, "query-name", answered));
}

TEST_CASE("answers find their questions, in any order") {
  Conversation talk;
  int answered = 0;
  talk.spawn(out_of_order_qemu(talk));
  talk.spawn(ask_twice(talk, answered));
  talk.run();
  CHECK(answered == 2);
  CHECK(talk.events() == std::vector<std::string>{"RESUME"});
}

/// Takes two requests, the first of which brings a descriptor.
asio::awaitable<void> receive_fd(Conversation& talk, UniqueFd& received) {
  co_await greet(talk);
  auto [request, fd] = co_await talk.hear_with_fd();
  CHECK(request["execute"] == "getfd");
  CHECK(request["arguments"]["fdname"] == "state");
  received = std::move(fd);
  const json answer1 = {{"return", json::object()}, {"id", request["id"]}};
  co_await talk.say(answer1.dump() + "\n");
  const json second = co_await talk.hear();
  CHECK(second["execute"] == "query-status");
  const json answer2 = {{"return", json::object()}, {"id", second["id"]}};
  co_await talk.say(answer2.dump() + "\n");
}

asio::awaitable<void> pass_fd(Conversation& talk, UniqueFd fd, bool& done) {
  // Not inside of REQUIRE, which has its expression twice.
  const auto greeted = co_await talk.client().handshake();
  REQUIRE(greeted);
  const json name = {{"fdname", "state"}};
  const auto passed = co_await talk.client().execute_with_fd("getfd", name, fd.get());
  REQUIRE(passed);
  const auto status = co_await talk.client().execute("query-status");
  REQUIRE(status);
  talk.close_client();
  done = true;
}

TEST_CASE("a descriptor travels with its command, and others follow") {
  Conversation talk;
  UniqueFd received;
  bool done = false;
  std::array<int, 2> pipe;
  REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
  const UniqueFd reader(pipe[0]);
  talk.spawn(receive_fd(talk, received));
  talk.spawn(pass_fd(talk, UniqueFd(pipe[1]), done));
  talk.run();
  CHECK(done);
  REQUIRE(received);
  REQUIRE(::write(received.get(), "x", 1) == 1);
  char byte = 0;
  CHECK(::read(reader.get(), &byte, 1) == 1);
  CHECK(byte == 'x');
}

asio::awaitable<void> expect_failure(Conversation& talk, Code code, bool& done) {
  const auto greeted = co_await talk.client().handshake();
  const auto reply = co_await talk.client().execute("query-status");
  REQUIRE_FALSE(reply.has_value());
  CHECK(reply.error().code() == code);
  if (!greeted) CHECK(greeted.error().code() == code);
  done = true;
}

asio::awaitable<void> hang_up(Conversation& talk, bool after_greeting) {
  if (after_greeting) {
    co_await greet(talk);
    co_await talk.hear();
  }
  talk.hang_up();
}

TEST_CASE("a QEMU that hangs up fails the calls under way") {
  for (const bool after_greeting : {false, true}) {
    Conversation talk;
    bool done = false;
    talk.spawn(hang_up(talk, after_greeting));
    talk.spawn(expect_failure(talk, Code::kUnavailable, done));
    talk.run();
    CHECK(done);
  }
}

/// Answers the first request when the second comes.
asio::awaitable<void> answer_late(Conversation& talk) {
  co_await greet(talk);
  const json first = co_await talk.hear();
  const json second = co_await talk.hear();
  const json answer1 = {{"return", "late"}, {"id", first["id"]}};
  const json answer2 = {{"return", "in time"}, {"id", second["id"]}};
  co_await talk.say(answer1.dump() + "\n" + answer2.dump() + "\n");
}

asio::awaitable<void> lose_patience(Conversation& talk, bool& done) {
  const auto greeted = co_await talk.client().handshake();
  REQUIRE(greeted);
  const auto first = co_await talk.client().execute("device_add");
  REQUIRE_FALSE(first);
  CHECK(first.error().code() == Code::kDeadlineExceeded);
  const auto second = co_await talk.client().execute("query-status");
  REQUIRE(second);
  CHECK(*second == "in time");
  talk.close_client();
  done = true;
}

TEST_CASE("a QEMU that hangs is not waited for, and its late answer is nobody's") {
  Conversation talk(std::chrono::milliseconds(200));
  bool done = false;
  talk.spawn(answer_late(talk));
  talk.spawn(lose_patience(talk, done));
  talk.run();
  CHECK(done);
}

TEST_CASE("a QEMU that sends garbage is dropped") {
  Conversation talk;
  bool done = false;
  talk.spawn(talk.say("garbage\n"));
  talk.spawn(expect_failure(talk, Code::kInvalidArgument, done));
  talk.run();
  CHECK(done);
}

}  // namespace
}  // namespace kata::hypervisor
