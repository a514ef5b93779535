// A process with a terminal: one output, and a stdin without an end.
#include "shim/io/test_support.h"

namespace kata::io {
namespace {

using testing::FifoDir;
using testing::open_end;
using testing::StreamPair;

struct Terminal {
  Terminal() {
    StdioConfig config{
        .in = dir.path("in"), .out = dir.path("out"), .err = dir.path("err"), .terminal = true};
    io = sandbox.open(config);
    wanted_err = io->wants_stderr();
    io->attach({std::move(in.host), std::move(out.host), UniqueFd()});
  }
  FifoDir dir;
  testing::Sandbox sandbox;
  StreamPair in, out;
  std::unique_ptr<sandbox::ProcessIo> io;
  bool wanted_err = true;
};

TEST_CASE("a terminal has one output, which ends it") {
  Terminal terminal;
  CHECK_FALSE(terminal.wanted_err);
  auto client = open_end(terminal.dir.path("out"), O_RDONLY);
  testing::write_all(terminal.out.guest.get(), "screen\r\n");
  terminal.out.guest.reset();
  CHECK(testing::read_some(client.get(), 100) == "screen\r\n");
  CHECK(terminal.sandbox.drains(*terminal.io));
}

TEST_CASE("a terminal's stderr need not even exist") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({.in = "", .out = dir.path("out"), .err = "/none", .terminal = true});
  CHECK(io->wants_stdout());
}

TEST_CASE("keys reach a terminal as they are") {
  Terminal terminal;
  auto client = open_end(terminal.dir.path("in"), O_WRONLY);
  std::string keys("\x03\x04\x1a\0\r\xff", 6);
  testing::write_all(client.get(), keys);
  CHECK(testing::read_some(terminal.in.guest.get(), keys.size()) == keys);
}

TEST_CASE("closing a terminal's stdin ends nothing, and a new client can type on") {
  Terminal terminal;
  auto client = open_end(terminal.dir.path("in"), O_WRONLY);
  testing::write_all(client.get(), "first");
  terminal.io->close_stdin();
  client.reset();
  CHECK(testing::read_some(terminal.in.guest.get(), 5) == "first");
  testing::flush_copier();
  client = open_end(terminal.dir.path("in"), O_WRONLY | O_NONBLOCK);
  testing::write_all(client.get(), "second");
  CHECK(testing::read_some(terminal.in.guest.get(), 6) == "second");
}

TEST_CASE("stdin that is closed before the terminal is there is open, too") {
  FifoDir dir;
  testing::Sandbox sandbox;
  StreamPair in;
  auto io = sandbox.open({.in = dir.path("in"), .out = "", .err = "", .terminal = true});
  io->close_stdin();
  io->attach({std::move(in.host), UniqueFd(), UniqueFd()});
  testing::flush_copier();
  auto client = open_end(dir.path("in"), O_WRONLY | O_NONBLOCK);
  testing::write_all(client.get(), "keys");
  CHECK(testing::read_some(in.guest.get(), 4) == "keys");
}

}  // namespace
}  // namespace kata::io
