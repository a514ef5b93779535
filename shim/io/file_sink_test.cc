// file:// outputs.
#include <fstream>

#include "shim/io/test_support.h"

namespace kata::io {
namespace {

using testing::FifoDir;
using testing::open_end;
using testing::StreamPair;

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Sends one text on each wanted stream and ends both.
bool send(testing::Sandbox& sandbox, const StdioConfig& config, const std::string& to_out,
          const std::string& to_err = "") {
  auto io = sandbox.open(config);
  StreamPair out, err;
  testing::write_all(out.guest.get(), to_out);
  testing::write_all(err.guest.get(), to_err);
  out.guest.reset();
  err.guest.reset();
  io->attach({UniqueFd(), std::move(out.host), std::move(err.host)});
  return sandbox.drains(*io);
}

TEST_CASE("output is appended to a file that is made with its directories") {
  FifoDir dir;
  testing::Sandbox sandbox;
  std::string path = dir.path("a/b/log");
  CHECK(send(sandbox, {"", "file://" + path, ""}, "one\n"));
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0644);
  REQUIRE(::stat(dir.path("a").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0755);
  CHECK(send(sandbox, {"", "file://" + path, ""}, "two\n"));
  CHECK(content_of(path) == "one\ntwo\n");
}

TEST_CASE("both outputs may go to one file") {
  FifoDir dir;
  testing::Sandbox sandbox;
  std::string uri = "file://" + dir.path("log");
  CHECK(send(sandbox, {"", uri, uri}, "to stdout\n", "to stderr\n"));
  std::string text = content_of(dir.path("log"));
  CHECK(text.size() == 20);
  CHECK(text.find("to stdout\n") != std::string::npos);
  CHECK(text.find("to stderr\n") != std::string::npos);
}

TEST_CASE("nothing of a large output to a file is lost") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", "file://" + dir.path("log"), ""});
  StreamPair out;
  io->attach({UniqueFd(), std::move(out.host), UniqueFd()});
  auto writing = std::async(std::launch::async, [&] {
    auto sent = testing::write_random(out.guest.get(), 16 * 1024 * 1024, 11);
    out.guest.reset();
    return sent;
  });
  CHECK(sandbox.drains(*io));
  UniqueFd log = open_end(dir.path("log"), O_RDONLY);
  CHECK(testing::read_to_end(log.get()) == writing.get());
}

TEST_CASE("a fifo and a device may be named as files") {
  FifoDir dir;
  testing::Sandbox sandbox;
  CHECK(send(sandbox, {"", "file:///dev/null", ""}, "into the void"));
  UniqueFd reader = open_end(dir.path("out"), O_RDONLY | O_NONBLOCK);
  auto reading =
      std::async(std::launch::async, [&] { return testing::read_some(reader.get(), 100); });
  CHECK(send(sandbox, {"", "file://" + dir.path("out"), ""}, "words"));
  CHECK(reading.get() == "words");
}

TEST_CASE("a full disk ends its stream") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", "file:///dev/full", ""});
  StreamPair out;
  testing::write_all(out.guest.get(), "no room");
  io->attach({UniqueFd(), std::move(out.host), UniqueFd()});
  CHECK(sandbox.drains(*io));
  CHECK(testing::hung_up(out.guest.get()));
}

}  // namespace
}  // namespace kata::io
