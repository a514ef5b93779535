#include "shim/io/transfer.h"

#include <thread>

#include <netinet/in.h>

#include "shim/io/test_support.h"

namespace kata::io {
namespace {

using testing::StreamPair;
using Step = Transfer::Step;

struct Pipe {
  UniqueFd reader;
  UniqueFd writer;

  Pipe() {
    int fds[2];
    REQUIRE(::pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0);
    reader.reset(fds[0]);
    writer.reset(fds[1]);
  }
};

TEST_CASE("bytes move from a socket into a pipe") {
  StreamPair source;
  Pipe sink;
  BufferPool buffers;
  Transfer transfer(source.host.get(), sink.writer.get(), buffers);

  CHECK(transfer.step() == Step::kSourceEmpty);
  testing::write_all(source.guest.get(), "hello");
  CHECK(transfer.step() == Step::kMoved);
  CHECK(testing::read_some(sink.reader.get(), 5) == "hello");
  CHECK(transfer.step() == Step::kSourceEmpty);
  source.guest.reset();
  CHECK(transfer.step() == Step::kEnd);
}

TEST_CASE("a full pipe is told from an empty source") {
  StreamPair source;
  Pipe sink;
  BufferPool buffers;
  Transfer transfer(source.host.get(), sink.writer.get(), buffers);

  // One slot, however little is in it.
  REQUIRE(::fcntl(sink.writer.get(), F_SETPIPE_SZ, 4096) == 4096);

  testing::write_all(source.guest.get(), "one");
  CHECK(transfer.step() == Step::kMoved);
  testing::write_all(source.guest.get(), "two");
  CHECK(transfer.step() == Step::kSinkFull);
  CHECK(testing::read_some(sink.reader.get(), 3) == "one");
  CHECK(transfer.step() == Step::kMoved);
  CHECK(testing::read_some(sink.reader.get(), 3) == "two");
  CHECK(transfer.step() == Step::kSourceEmpty);
}

TEST_CASE("a pipe without readers is told") {
  ::signal(SIGPIPE, SIG_IGN);
  StreamPair source;
  Pipe sink;
  BufferPool buffers;
  Transfer transfer(source.host.get(), sink.writer.get(), buffers);

  testing::write_all(source.guest.get(), "hello");
  sink.reader.reset();
  CHECK(transfer.step() == Step::kSinkGone);
}

TEST_CASE("what cannot be spliced is copied through a buffer") {
  // Two sockets: splice needs a pipe at one end.
  StreamPair source;
  StreamPair sink;
  BufferPool buffers;
  Transfer transfer(source.host.get(), sink.host.get(), buffers);

  constexpr size_t kBytes = 8 * 1024 * 1024;
  testing::Digest sent, received;
  std::thread guest([&] {
    sent = testing::write_random(source.guest.get(), kBytes, 1);
    source.guest.reset();
  });
  std::thread client([&] { received = testing::read_to_end(sink.guest.get()); });
  for (Step step = Step::kMoved; step != Step::kEnd;) {
    step = transfer.step();
    REQUIRE(step != Step::kFailed);
    REQUIRE(step != Step::kSinkGone);
    if (step == Step::kSourceEmpty) testing::wait_for_events(source.host.get(), POLLIN);
    if (step == Step::kSinkFull) testing::wait_for_events(sink.host.get(), POLLOUT);
  }
  sink.host.reset();
  guest.join();
  client.join();
  CHECK(sent.bytes == kBytes);
  CHECK(received == sent);
}

TEST_CASE("an error of the source is told with its number") {
  StreamPair source;
  Pipe sink;
  BufferPool buffers;
  Transfer transfer(source.host.get(), sink.writer.get(), buffers);

  // A stream that is closed with unread bytes is reset.
  testing::write_all(source.host.get(), "unread");
  source.guest.reset();
  CHECK(transfer.step() == Step::kFailed);
  CHECK(transfer.error_number() == ECONNRESET);
}

TEST_CASE("buffers go back to the pool") {
  BufferPool buffers;
  auto first = buffers.take();
  auto* address = first.get();
  buffers.give_back(std::move(first));
  CHECK(buffers.take().get() == address);
}

}  // namespace
}  // namespace kata::io
