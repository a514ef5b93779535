#include "shim/io/stdio.h"

#include <thread>

#include "shim/io/test_support.h"

namespace kata::io {
namespace {

using testing::Digest;
using testing::FifoDir;
using testing::open_end;
using testing::StreamPair;

constexpr size_t kBulkBytes = 64 * 1024 * 1024;

TEST_CASE("64 MiB each way at once, nothing is lost") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({dir.path("in"), dir.path("out"), dir.path("err")});
  StreamPair in, out, err;
  // As containerd's client does: each end in a thread of its own, released when the shim opens its.
  auto opening_in = testing::open_in_background(dir.path("in"), O_WRONLY);
  auto opening_out = testing::open_in_background(dir.path("out"), O_RDONLY);
  auto opening_err = testing::open_in_background(dir.path("err"), O_RDONLY);
  io->attach({std::move(in.host), std::move(out.host), std::move(err.host)});
  auto client_in = opening_in.get();
  auto client_out = opening_out.get();
  auto client_err = opening_err.get();

  Digest in_sent, out_sent, err_sent, in_got, out_got, err_got;
  std::thread threads[] = {
      std::thread([&] {
        in_sent = testing::write_random(client_in.get(), kBulkBytes, 1);
        client_in.reset();
      }),
      std::thread([&] {
        out_sent = testing::write_random(out.guest.get(), kBulkBytes, 2);
        out.guest.reset();
      }),
      std::thread([&] {
        err_sent = testing::write_random(err.guest.get(), kBulkBytes, 3);
        err.guest.reset();
      }),
      std::thread([&] { in_got = testing::read_to_end(in.guest.get()); }),
      std::thread([&] { out_got = testing::read_to_end(client_out.get()); }),
      std::thread([&] { err_got = testing::read_to_end(client_err.get()); }),
  };
  CHECK(sandbox.drains(*io));
  io->close_stdin();
  for (auto& thread : threads) thread.join();
  CHECK(in_sent.bytes == kBulkBytes);
  CHECK(in_got == in_sent);
  CHECK(out_got == out_sent);
  CHECK(err_got == err_sent);
}

TEST_CASE("what is not wanted is not opened") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io =
      sandbox.open({.in = "", .out = dir.path("out"), .err = dir.path("err"), .terminal = true});
  CHECK_FALSE(io->wants_stdin());
  CHECK(io->wants_stdout());
  CHECK_FALSE(io->wants_stderr());

  auto none = sandbox.open({});
  CHECK_FALSE(none->wants_stdout());
  none->attach({});
  CHECK(sandbox.drains(*none));
}

TEST_CASE("never attached is drained at once") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), ""});
  CHECK(sandbox.is_drained(*io));
}

TEST_CASE("both outputs must end") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), dir.path("err")});
  StreamPair out, err;
  io->attach({UniqueFd(), std::move(out.host), std::move(err.host)});
  auto client_out = open_end(dir.path("out"), O_RDONLY);
  auto client_err = open_end(dir.path("err"), O_RDONLY);

  testing::write_all(out.guest.get(), "last words");
  ::shutdown(out.guest.get(), SHUT_WR);
  CHECK(testing::read_some(client_out.get(), 100) == "last words");
  CHECK_FALSE(sandbox.is_drained(*io));

  testing::write_all(err.guest.get(), "still here");
  CHECK(testing::read_some(client_err.get(), 10) == "still here");
  err.guest.reset();
  CHECK(testing::read_some(client_err.get(), 1).empty());
  CHECK(sandbox.drains(*io));
}

TEST_CASE("both outputs may be one fifo") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), dir.path("out")});
  StreamPair out, err;
  io->attach({UniqueFd(), std::move(out.host), std::move(err.host)});
  auto client = open_end(dir.path("out"), O_RDONLY);

  testing::write_all(out.guest.get(), "one");
  out.guest.reset();
  CHECK(testing::read_some(client.get(), 3) == "one");
  testing::write_all(err.guest.get(), "two");
  err.guest.reset();
  CHECK(testing::read_some(client.get(), 100) == "two");
  CHECK(sandbox.drains(*io));
}

TEST_CASE("output is drained when the client has read it") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), ""});
  StreamPair out;
  io->attach({UniqueFd(), std::move(out.host), UniqueFd()});
  auto client = open_end(dir.path("out"), O_RDONLY);

  testing::write_all(out.guest.get(), "last words");
  out.guest.reset();
  REQUIRE(testing::read_some(client.get(), 4) == "last");
  testing::flush_copier();
  CHECK_FALSE(sandbox.is_drained(*io));
  CHECK(testing::read_some(client.get(), 100) == " words");
  CHECK(sandbox.drains(*io));
}

TEST_CASE("a client that goes away and comes back misses nothing") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), ""});
  StreamPair out;
  io->attach({UniqueFd(), std::move(out.host), UniqueFd()});
  auto client = open_end(dir.path("out"), O_RDONLY);

  constexpr size_t kBytes = 4 * 1024 * 1024;
  Digest sent, received;
  std::thread guest([&] {
    sent = testing::write_random(out.guest.get(), kBytes, 7);
    out.guest.reset();
  });
  for (int visit = 0; visit < 20; ++visit) {
    received.add(testing::read_some(client.get(), 100'000));
    client.reset();
    client = open_end(dir.path("out"), O_RDONLY);
  }
  while (true) {
    auto rest = testing::read_some(client.get(), 100'000);
    if (rest.empty()) break;
    received.add(rest);
  }
  guest.join();
  CHECK(received == sent);
  CHECK(sandbox.drains(*io));
}

TEST_CASE("a client that has gone at the end is not waited for") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), ""});
  StreamPair out;
  UniqueFd client;
  bool was_there = GENERATE(true, false);
  if (was_there) client = open_end(dir.path("out"), O_RDONLY | O_NONBLOCK);
  io->attach({UniqueFd(), std::move(out.host), UniqueFd()});
  if (!was_there) client = open_end(dir.path("out"), O_RDONLY);
  testing::flush_copier();
  client.reset();
  testing::write_all(out.guest.get(), "for nobody");
  out.guest.reset();
  CHECK(sandbox.drains(*io));
}

TEST_CASE("a client that leaves while the rest waits for it ends the wait") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), ""});
  StreamPair out;
  io->attach({UniqueFd(), std::move(out.host), UniqueFd()});
  auto client = open_end(dir.path("out"), O_RDONLY);
  testing::write_all(out.guest.get(), "for nobody");
  out.guest.reset();
  REQUIRE(testing::read_some(client.get(), 3) == "for");
  client.reset();
  CHECK(sandbox.drains(*io));
}

TEST_CASE("after the end of the process a full fifo without a client is given up") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), ""});
  StreamPair out;
  auto opening = testing::open_in_background(dir.path("out"), O_RDONLY);
  io->attach({{}, std::move(out.host), {}});
  opening.get().reset();
  // More than fifo and socket hold, so that the writer is held back.
  std::thread process([&] {
    const std::string bulk(kBulkBytes, 'x');
    size_t sent = 0;
    for (ssize_t count = 1; count > 0 && sent < bulk.size(); sent += static_cast<size_t>(count))
      count = ::send(out.guest.get(), bulk.data() + sent, bulk.size() - sent, MSG_NOSIGNAL);
  });
  SECTION("which has left") {
    io->process_ended();
    CHECK(sandbox.drains(*io));
    process.join();
  }
  SECTION("but one that reads gets all of it") {
    auto client = open_end(dir.path("out"), O_RDONLY);
    io->process_ended();
    CHECK(testing::read_some(client.get(), kBulkBytes).size() == kBulkBytes);
    process.join();
    out.guest.reset();
    CHECK(sandbox.drains(*io));
  }
}

TEST_CASE("a client that opens its end after the process has ended gets all of it") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), ""});
  StreamPair out;
  io->attach({UniqueFd(), std::move(out.host), UniqueFd()});
  std::string text = GENERATE("", "early words");
  testing::write_all(out.guest.get(), text);
  ::shutdown(out.guest.get(), SHUT_WR);
  REQUIRE(testing::hung_up(out.guest.get()));
  CHECK_FALSE(sandbox.is_drained(*io));

  auto client = open_end(dir.path("out"), O_RDONLY);
  CHECK(testing::read_some(client.get(), 100) == text);
  CHECK(sandbox.drains(*io));
}

TEST_CASE("a reader that has stopped holds only its own stream") {
  FifoDir dir, other_dir;
  testing::Sandbox sandbox;
  auto stopped = sandbox.open({"", dir.path("out"), dir.path("err")});
  auto lively = sandbox.open({"", other_dir.path("out"), ""});
  StreamPair out, err, other;
  ::fcntl(out.guest.get(), F_SETFL, O_NONBLOCK);
  stopped->attach({UniqueFd(), std::move(out.host), std::move(err.host)});
  lively->attach({UniqueFd(), std::move(other.host), UniqueFd()});
  auto stopped_out = open_end(dir.path("out"), O_RDONLY);
  auto lively_err = open_end(dir.path("err"), O_RDONLY);
  auto lively_out = open_end(other_dir.path("out"), O_RDONLY);

  // Until the fifo, and the socket before it, are full and stay so.
  std::string block(64 * 1024, 'x');
  size_t held = 0;
  auto fill = [&] {
    size_t before = held;
    for (ssize_t count; (count = ::write(out.guest.get(), block.data(), block.size())) > 0;)
      held += static_cast<size_t>(count);
    return held != before;
  };
  while (fill()) testing::flush_copier();

  Digest sent, received, err_sent, err_received;
  std::thread threads[] = {
      std::thread([&] {
        sent = testing::write_random(other.guest.get(), kBulkBytes, 4);
        other.guest.reset();
      }),
      std::thread([&] {
        err_sent = testing::write_random(err.guest.get(), kBulkBytes, 5);
        err.guest.reset();
      }),
      std::thread([&] { received = testing::read_to_end(lively_out.get()); }),
      std::thread([&] { err_received = testing::read_to_end(lively_err.get()); }),
  };
  CHECK(sandbox.drains(*lively));
  for (auto& thread : threads) thread.join();
  CHECK(received == sent);
  CHECK(err_received == err_sent);
  CHECK_FALSE(sandbox.is_drained(*stopped));

  out.guest.reset();
  CHECK(testing::read_to_end(stopped_out.get()).bytes == held);
  CHECK(sandbox.drains(*stopped));
}

TEST_CASE("what the guest sent before its stream broke reaches the client") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), ""});
  StreamPair out;
  testing::write_all(out.host.get(), "unread by the guest: its close is a reset");
  testing::write_all(out.guest.get(), "last words");
  out.guest.reset();
  io->attach({UniqueFd(), std::move(out.host), UniqueFd()});
  auto client = open_end(dir.path("out"), O_RDONLY);
  CHECK(testing::read_some(client.get(), 100) == "last words");
  CHECK(sandbox.drains(*io));
}

}  // namespace
}  // namespace kata::io
