#include "agent/container/stdio.h"

#include <filesystem>
#include <future>
#include <string>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/testing/guest.h"

namespace kata::container {
namespace {

constexpr size_t kMoreThanAnyBuffer = 32 * 1024 * 1024;

std::string pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 + i / 4096);
  return bytes;
}

void write_fully(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t put = write(fd, bytes.data(), bytes.size());
    REQUIRE(put > 0);
    bytes.remove_prefix(static_cast<size_t>(put));
  }
}

/// Streams, and in place of a process the test that holds the process's ends.
struct Streams {
  explicit Streams(StdioWanted wanted) {
    auto opened = Stdio::open(guest.loop(), guest.listeners(), wanted);
    REQUIRE(opened);
    stdio.emplace(*std::move(opened));
    for (size_t i = 0; i < process.size(); ++i) process[i] = UniqueFd(dup(stdio->child_ends()[i]));
    stdio->close_child_ends();
  }

  testing::Guest guest;
  std::optional<Stdio> stdio;
  std::array<UniqueFd, 3> process;
};

TEST_CASE("Outputs arrive complete, separately, and end with their last writer") {
  Streams streams({.out = true, .err = true});
  CHECK(streams.stdio->ports().in == 0);
  UniqueFd out = streams.guest.connect(streams.stdio->ports().out);
  UniqueFd err = streams.guest.connect(streams.stdio->ports().err);
  const std::string bytes = pattern(kMoreThanAnyBuffer);
  auto writer = std::async(std::launch::async, [&] {
    write_fully(streams.process[1].get(), bytes);
    write_fully(streams.process[2].get(), "error");
    streams.process[1].reset();
  });
  CHECK(testing::read_all(out.get()) == bytes);
  writer.get();
  streams.process[2].reset();
  CHECK(testing::read_all(err.get()) == "error");
}

TEST_CASE("The host's half-close ends stdin after the last byte") {
  Streams streams({.in = true});
  UniqueFd in = streams.guest.connect(streams.stdio->ports().in);
  const std::string bytes = pattern(kMoreThanAnyBuffer);
  auto writer = std::async(std::launch::async, [&] {
    write_fully(in.get(), bytes);
    shutdown(in.get(), SHUT_WR);
  });
  CHECK(testing::read_all(streams.process[0].get()) == bytes);
  writer.get();
}

TEST_CASE("A reader that stands still stops the writer") {
  Streams streams({.out = true});
  UniqueFd out = streams.guest.connect(streams.stdio->ports().out);
  fcntl(streams.process[1].get(), F_SETFL, O_NONBLOCK);
  const std::string chunk(4096, 'x');
  size_t written = 0;
  // Full for a moment may only mean that the loop has not come yet; full for long is the end.
  pollfd ready{streams.process[1].get(), POLLOUT, 0};
  while (poll(&ready, 1, 200) == 1) {
    ssize_t put = write(streams.process[1].get(), chunk.data(), chunk.size());
    if (put > 0) written += static_cast<size_t>(put);
    REQUIRE(written < kMoreThanAnyBuffer);
  }
  streams.process[1].reset();
  CHECK(testing::read_all(out.get()).size() == written);
}

TEST_CASE("A process that fills its pipe gets a wider one") {
  Streams streams({.out = true, .err = true});
  const int out = streams.process[1].get();
  const int err = streams.process[2].get();
  const int usual = fcntl(out, F_GETPIPE_SZ);
  // Before the host connects nothing is read.
  write_fully(out, pattern(static_cast<size_t>(usual)));
  write_fully(err, "error");
  for (uint32_t port : {streams.stdio->ports().out, streams.stdio->ports().err}) {
    UniqueFd connection = streams.guest.connect(port);
    char byte = 0;
    REQUIRE(read(connection.get(), &byte, 1) == 1);
  }
  CHECK(fcntl(out, F_GETPIPE_SZ) > usual);
  CHECK(fcntl(err, F_GETPIPE_SZ) == usual);
}

TEST_CASE("An output whose reader has gone breaks the process's pipe") {
  signal(SIGPIPE, SIG_IGN);
  Streams streams({.out = true});
  UniqueFd out = streams.guest.connect(streams.stdio->ports().out);
  write_fully(streams.process[1].get(), "x");
  char byte = 0;
  REQUIRE(read(out.get(), &byte, 1) == 1);
  out.reset();
  pollfd broken{streams.process[1].get(), 0, 0};
  REQUIRE(poll(&broken, 1, 5000) == 1);
  CHECK((broken.revents & POLLERR) != 0);
  CHECK(write(streams.process[1].get(), "y", 1) == -1);
}

TEST_CASE("A process that closes stdin has its connection closed") {
  Streams streams({.in = true});
  UniqueFd in = streams.guest.connect(streams.stdio->ports().in);
  streams.process[0].reset();
  pollfd closed{in.get(), POLLIN, 0};
  REQUIRE(poll(&closed, 1, 5000) == 1);
  CHECK(testing::read_all(in.get()).empty());
}

TEST_CASE("After the process's end its output still arrives, and what waits for the host is gone") {
  Streams streams({.in = true, .out = true, .err = true});
  const auto ports = streams.stdio->ports();
  UniqueFd out = streams.guest.connect(ports.out);
  write_fully(streams.process[1].get(), "last words");
  streams.process = {};
  streams.stdio->process_ended();
  streams.stdio.reset();
  CHECK(testing::read_all(out.get()) == "last words");
  CHECK_FALSE(std::filesystem::exists(streams.guest.directory() / std::to_string(ports.in)));
  CHECK_FALSE(std::filesystem::exists(streams.guest.directory() / std::to_string(ports.err)));
}

TEST_CASE("A stream takes one connection only") {
  Streams streams({.out = true});
  UniqueFd out = streams.guest.connect(streams.stdio->ports().out);
  write_fully(streams.process[1].get(), "x");
  char byte = 0;
  REQUIRE(read(out.get(), &byte, 1) == 1);  // so the connection has been accepted
  auto path = streams.guest.directory() / std::to_string(streams.stdio->ports().out);
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("Streams that are not wanted are /dev/null") {
  Streams streams({});
  CHECK(testing::read_all(streams.process[0].get()).empty());
  CHECK(write(streams.process[1].get(), "x", 1) == 1);
}

}  // namespace
}  // namespace kata::container
