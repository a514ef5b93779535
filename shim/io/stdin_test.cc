#include "shim/io/test_support.h"

namespace kata::io {
namespace {

using testing::FifoDir;
using testing::open_end;
using testing::StreamPair;

/// A process with nothing but a standard input.
struct Input {
  FifoDir dir;
  testing::Sandbox sandbox;
  std::unique_ptr<sandbox::ProcessIo> io = sandbox.open({dir.path("in"), "", ""});
  StreamPair stream;

  UniqueFd client() { return open_end(dir.path("in"), O_WRONLY); }
  void attach() { io->attach({std::move(stream.host), UniqueFd(), UniqueFd()}); }
  std::string read_some(size_t size) { return testing::read_some(stream.guest.get(), size); }
};

TEST_CASE("a client that closes stdin without asking is no end of file") {
  Input input;
  input.attach();
  auto client = input.client();
  testing::write_all(client.get(), "one ");
  client.reset();
  client = input.client();
  testing::write_all(client.get(), "two ");
  client.reset();
  CHECK(input.read_some(8) == "one two ");
  testing::flush_copier();
  pollfd state{.fd = input.stream.guest.get(), .events = POLLIN, .revents = 0};
  CHECK(::poll(&state, 1, 0) == 0);

  input.io->close_stdin();
  CHECK(input.read_some(1).empty());
}

TEST_CASE("end of file comes after all that was written before") {
  Input input;
  input.attach();
  auto client = input.client();
  std::string text(60'000, 'x');
  testing::write_all(client.get(), text);
  SECTION("asked for first") {
    input.io->close_stdin();
    testing::write_all(client.get(), "more");
    client.reset();
  }
  SECTION("closed first") {
    testing::write_all(client.get(), "more");
    client.reset();
    input.io->close_stdin();
  }
  CHECK(input.read_some(100'000) == text + "more");
}

TEST_CASE("stdin that is closed before the process is there still reaches it") {
  Input input;
  // Both ends, so that the test need not wait for the shim to open its own.
  auto client = open_end(input.dir.path("in"), O_RDWR);
  testing::write_all(client.get(), "early");
  input.io->close_stdin();
  input.attach();
  CHECK(input.read_some(5) == "early");
  client.reset();
  CHECK(input.read_some(1).empty());
}

TEST_CASE("a client that never comes and asks for the end gives an empty stdin") {
  Input input;
  input.attach();
  input.io->close_stdin();
  CHECK(input.read_some(1).empty());
}

TEST_CASE("the guest's end stays open until the guest has closed it") {
  Input input;
  input.attach();
  input.io->close_stdin();
  CHECK(input.read_some(1).empty());
  testing::flush_copier();
  pollfd state{.fd = input.stream.guest.get(), .events = 0, .revents = 0};
  CHECK(::poll(&state, 1, 0) == 0);
}

TEST_CASE("a process that closes its stdin ends the client's writing") {
  Input input;
  input.attach();
  auto client = input.client();
  testing::write_all(client.get(), "x");
  CHECK(input.read_some(1) == "x");
  input.stream.guest.reset();
  // A writer without readers is in an error state.
  CHECK(testing::wait_for_events(client.get(), 0));
  CHECK(::write(client.get(), "y", 1) < 0);
  CHECK(errno == EPIPE);
}

TEST_CASE("a process that does not read its stdin holds the client back") {
  Input input;
  input.attach();
  auto client = input.client();
  ::fcntl(client.get(), F_SETFL, O_NONBLOCK);
  std::string block(4096, 'x');
  size_t written = 0;
  auto fill = [&] {
    size_t before = written;
    for (ssize_t count; (count = ::write(client.get(), block.data(), block.size())) > 0;)
      written += static_cast<size_t>(count);
    return written != before;
  };
  while (fill()) testing::flush_copier();
  CHECK(written < 4 * 1024 * 1024);

  client.reset();
  input.io->close_stdin();
  CHECK(testing::read_to_end(input.stream.guest.get()).bytes == written);
}

}  // namespace
}  // namespace kata::io
