#include "agent/container/sync.h"

#include <thread>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>

#include "common/oci/parse.h"

namespace kata::container {
namespace {

struct Pair {
  Pair() {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    left.emplace(UniqueFd(ends[0]));
    right.emplace(UniqueFd(ends[1]));
  }
  std::optional<SyncSocket> left;
  std::optional<SyncSocket> right;
};

TEST_CASE("A message arrives with its type and body") {
  Pair pair;
  REQUIRE(pair.left->send(MessageType::kCreated));
  REQUIRE(pair.left->send(MessageType::kError, "body"));
  auto first = pair.right->receive();
  REQUIRE(first);
  REQUIRE(first->has_value());
  CHECK((*first)->type == MessageType::kCreated);
  CHECK((*first)->body.empty());
  auto second = pair.right->receive();
  REQUIRE(second);
  CHECK((*second)->body == "body");
}

TEST_CASE("A descriptor travels with its message, and closes itself where nobody takes it") {
  Pair pair;
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  REQUIRE(pair.left->send(MessageType::kCreated, "body", writer.get()));
  REQUIRE(pair.left->send(MessageType::kStart));
  writer.reset();
  {
    auto first = pair.right->receive();
    REQUIRE(first);
    REQUIRE((*first)->descriptor);
    CHECK((fcntl((*first)->descriptor.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(write((*first)->descriptor.get(), "x", 1) == 1);
  }
  auto second = pair.right->receive();
  REQUIRE(second);
  CHECK_FALSE((*second)->descriptor);
  char bytes[2];
  CHECK(read(reader.get(), bytes, 2) == 1);
  CHECK(read(reader.get(), bytes, 2) == 0);
}

TEST_CASE("An end that says nothing is waited for only so long") {
  Pair pair;
  REQUIRE(pair.left->set_timeout(std::chrono::milliseconds(20)));
  auto received = pair.left->receive();
  REQUIRE_FALSE(received);
  CHECK(received.error().code() == Code::kDeadlineExceeded);
  auto sent = pair.left->send(MessageType::kConfig, std::string(oci::kMaxSpecBytes, 'x'));
  REQUIRE_FALSE(sent);
  CHECK(sent.error().code() == Code::kDeadlineExceeded);
}

TEST_CASE("A configuration larger than the socket's buffers arrives whole") {
  Pair pair;
  InitConfig config{"/run/rootfs",
                    std::string(oci::kMaxSpecBytes, 'x'),
                    std::string(512 * 1024, '\0'),
                    "LINUX32",
                    CLONE_NEWTIME,
                    {"c1", "/run/bundle", {{"/bin/a", "/share/1"}, {"/bin/b", "/share/2"}}}};
  std::thread sender([&] { CHECK(pair.left->send(MessageType::kConfig, encode_config(config))); });
  auto message = pair.right->receive();
  sender.join();
  REQUIRE(message);
  REQUIRE(message->has_value());
  auto decoded = decode_config((*message)->body);
  REQUIRE(decoded);
  CHECK(decoded->rootfs == config.rootfs);
  CHECK(decoded->json == config.json);
  CHECK(decoded->filter == config.filter);
  CHECK(decoded->namespaces == config.namespaces);
  CHECK(decoded->container.id == "c1");
  CHECK(decoded->container.bundle == "/run/bundle");
  CHECK(decoded->container.hook_programs == config.container.hook_programs);
}

TEST_CASE("A closed stream is no message, also in the middle of one") {
  Pair pair;
  SECTION("at a boundary") {}
  SECTION("inside a header") { REQUIRE(send(pair.left->descriptor(), "abc", 3, 0) == 3); }
  SECTION("inside a body") {
    const uint32_t header[] = {static_cast<uint32_t>(MessageType::kError), 100};
    REQUIRE(send(pair.left->descriptor(), header, sizeof header, 0) == sizeof header);
  }
  pair.left.reset();
  auto message = pair.right->receive();
  REQUIRE(message);
  CHECK_FALSE(message->has_value());
}

TEST_CASE("Sending to a closed stream is Unavailable and raises no signal") {
  Pair pair;
  pair.right.reset();
  auto sent = pair.left->send(MessageType::kStart);
  REQUIRE_FALSE(sent);
  CHECK(sent.error().code() == Code::kUnavailable);
}

TEST_CASE("A body of impossible size is refused before it is allocated") {
  Pair pair;
  const uint32_t header[] = {static_cast<uint32_t>(MessageType::kError), 0xffffffff};
  REQUIRE(send(pair.left->descriptor(), header, sizeof header, 0) == sizeof header);
  auto message = pair.right->receive();
  REQUIRE_FALSE(message);
  CHECK(message.error().code() == Code::kInternal);
  CHECK_FALSE(pair.right->send(MessageType::kConfig, std::string(oci::kMaxSpecBytes * 2, 'x')));
}

TEST_CASE("An error keeps its code and message") {
  Error error = decode_error(encode_error(Error(Code::kNotFound, "exec: \"nosuch\": not found")));
  CHECK(error.code() == Code::kNotFound);
  CHECK(error.message() == "exec: \"nosuch\": not found");
  CHECK(decode_error("").code() == Code::kInternal);
  CHECK(decode_error(std::string("\xff\xff\xff\x7fx", 5)).code() == Code::kUnknown);
}

TEST_CASE("A configuration that is cut short is refused") {
  CHECK_FALSE(decode_config(""));
  CHECK_FALSE(decode_config(std::string("\xff\x00\x00\x00/run", 8)));
  const std::string one_program(4 * sizeof(uint32_t) + 1, '\1');
  CHECK_FALSE(decode_config(one_program));
}

}  // namespace
}  // namespace kata::container
