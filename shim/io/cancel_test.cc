#include "shim/io/test_support.h"

namespace kata::io {
namespace {

using testing::FifoDir;
using testing::open_end;
using testing::StreamPair;

/// Descriptors of this process that a test case has left open.
class FdCheck {
 public:
  FdCheck() {
    testing::open_copier();  // its own descriptors are no leak
    before_ = testing::open_fds();
  }
  size_t left() {
    testing::flush_copier();
    return testing::open_fds() - before_;
  }

 private:
  size_t before_;
};

void fill(int fd) {
  std::string block(64 * 1024, 'x');
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
  for (bool more = true; more; testing::flush_copier()) {
    more = false;
    while (::write(fd, block.data(), block.size()) > 0) more = true;
  }
}

TEST_CASE("cancel closes everything in every state") {
  enum class State {
    kOpen,
    kIdle,
    kOutputBlocked,
    kInputBlocked,
    kClientToCome,
    kClientToRead,
    kOneEnded,
    kEnded,
  };
  auto state =
      GENERATE(State::kOpen, State::kIdle, State::kOutputBlocked, State::kInputBlocked,
               State::kClientToCome, State::kClientToRead, State::kOneEnded, State::kEnded);
  bool by_destruction = GENERATE(false, true);
  FifoDir dir;
  testing::Sandbox sandbox;
  FdCheck fds;
  {
    auto io = sandbox.open({dir.path("in"), dir.path("out"), dir.path("err")});
    StreamPair in, out, err;
    UniqueFd client_in, client_out, client_err;
    if (state != State::kOpen)
      io->attach({std::move(in.host), std::move(out.host), std::move(err.host)});
    if (state != State::kOpen && state != State::kClientToCome) {
      client_in = open_end(dir.path("in"), O_WRONLY);
      client_out = open_end(dir.path("out"), O_RDONLY);
      client_err = open_end(dir.path("err"), O_RDONLY);
    }
    switch (state) {
      case State::kOpen:
      case State::kIdle:
        break;
      case State::kOutputBlocked:
        fill(out.guest.get());
        break;
      case State::kInputBlocked:
        fill(client_in.get());
        break;
      case State::kClientToCome:
      case State::kClientToRead:
        testing::write_all(out.guest.get(), "unread");
        ::shutdown(out.guest.get(), SHUT_WR);
        ::shutdown(err.guest.get(), SHUT_WR);
        REQUIRE(testing::hung_up(out.guest.get()));
        break;
      case State::kOneEnded:
        err.guest.reset();
        CHECK(testing::read_some(client_err.get(), 1).empty());
        break;
      case State::kEnded:
        out.guest.reset();
        err.guest.reset();
        in.guest.reset();
        CHECK(testing::read_some(client_out.get(), 1).empty());
        CHECK(sandbox.drains(*io));
        break;
    }
    if (by_destruction) {
      io.reset();
    } else {
      io->cancel();
      CHECK(sandbox.is_drained(*io));
      io->cancel();
    }
    // The client and the guest are told.
    if (client_out) {
      CHECK(testing::wait_for_events(client_out.get(), POLLIN));
      CHECK(testing::wait_for_events(client_in.get(), 0));
    }
    if (state != State::kOpen && state != State::kEnded) {
      CHECK(testing::hung_up(out.guest.get()));
      CHECK(testing::hung_up(in.guest.get()));
    }
  }
  CHECK(fds.left() == 0);
}

TEST_CASE("attach after cancel closes the guest's streams") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({dir.path("in"), dir.path("out"), ""});
  StreamPair in, out;
  io->cancel();
  io->attach({std::move(in.host), std::move(out.host), UniqueFd()});
  CHECK(testing::hung_up(in.guest.get()));
  CHECK(testing::hung_up(out.guest.get()));
  CHECK(sandbox.is_drained(*io));
}

TEST_CASE("who waits for the end is told of a cancel") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), ""});
  StreamPair out;
  io->attach({UniqueFd(), std::move(out.host), UniqueFd()});
  bool by_destruction = GENERATE(false, true);
  auto waiter = sandbox.start_waiting(*io);
  CHECK_FALSE(*waiter);
  if (by_destruction)
    io.reset();
  else
    io->cancel();
  sandbox.run_ready();
  CHECK(*waiter);
}

TEST_CASE("five hundred processes leave no descriptor") {
  FifoDir dir;
  testing::Sandbox sandbox;
  FdCheck fds;
  for (int i = 0; i < 500; ++i) {
    auto io = sandbox.open({dir.path("in"), dir.path("out"), dir.path("err")});
    StreamPair in, out, err;
    io->attach({std::move(in.host), std::move(out.host), std::move(err.host)});
    auto client = open_end(dir.path("out"), O_RDONLY);
    auto client_err = open_end(dir.path("err"), O_RDONLY);
    testing::write_all(out.guest.get(), "done");
    out.guest.reset();
    err.guest.reset();
    REQUIRE(testing::read_some(client.get(), 100) == "done");
    REQUIRE(sandbox.drains(*io));
  }
  CHECK(fds.left() == 0);
}

TEST_CASE("refusals name the stream and the cause, and open nothing", "[process]") {
  FifoDir dir;
  testing::Sandbox sandbox;
  FdCheck fds;
  auto refusal = [&](StdioConfig config) {
    auto io = sandbox.start(config);
    REQUIRE_FALSE(io);
    return io.error();
  };
  std::string good = dir.path("in");

  auto missing = refusal({good, dir.path("none"), ""});
  CHECK(missing.code() == Code::kNotFound);
  CHECK_THAT(missing.message(), Catch::Contains("stdout") && Catch::Contains(dir.path("none")));

  auto plain = refusal({"/etc/passwd", good, ""});
  CHECK(plain.code() == Code::kInvalidArgument);
  CHECK_THAT(plain.message(), Catch::Contains("stdin") && Catch::Contains("/etc/passwd"));

  for (std::string uri : {"file:///tmp/log", "binary:///bin/logger?a=b"})
    CHECK(refusal({uri, "", ""}).code() == Code::kInvalidArgument);
  CHECK(refusal({good, "", "binary:///no/such/logger"}).code() == Code::kNotFound);
  auto no_directory = refusal({good, "", "file:///etc/passwd/log"});
  CHECK_THAT(no_directory.message(),
             Catch::Contains("stderr") && Catch::Contains("/etc/passwd/log"));
  CHECK(refusal({"", "http://example.org/", ""}).code() == Code::kInvalidArgument);
  CHECK(fds.left() == 0);
}

TEST_CASE("a fifo may be named by its URI") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", "fifo://" + dir.path("out"), ""});
  CHECK(io->wants_stdout());
}

}  // namespace
}  // namespace kata::io
