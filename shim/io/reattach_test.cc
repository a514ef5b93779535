// Clients that go, however they go, and come again.
#include <spawn.h>
#include <sys/wait.h>

#include "shim/io/test_support.h"

namespace kata::io {
namespace {

using testing::Digest;
using testing::FifoDir;
using testing::open_end;
using testing::StreamPair;

constexpr size_t kBytes = 8 * 1024 * 1024;

/// A process that copies exactly `bytes` of a fifo into a file, says so, and then hangs with the
/// fifo open until it is killed.
class Reader {
 public:
  Reader(const std::string& fifo, const std::string& copy, size_t bytes) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    word_.reset(ends[0]);
    UniqueFd writer(ends[1]);
    std::string script = "head -c " + std::to_string(bytes) + " > \"$1\"; echo done; sleep 1000";
    std::string arguments[] = {"sh", "-c", script, "sh", copy};
    char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(),
                    arguments[3].data(), arguments[4].data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, fifo.c_str(), O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, writer.get(), 1);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    REQUIRE(::posix_spawn(&pid_, "/bin/sh", &actions, &attributes, argv, environ) == 0);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Reader() { kill(); }

  bool has_read() { return testing::read_some(word_.get(), 5) == "done\n"; }

  /// With the process that hangs for it.
  void kill() {
    if (pid_ < 0) return;
    ::kill(-pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd word_;
};

TEST_CASE("readers that are killed in the middle and their successors miss nothing") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), ""});
  StreamPair out;
  io->attach({UniqueFd(), std::move(out.host), UniqueFd()});
  auto writing = std::async(std::launch::async, [&] {
    Digest sent = testing::write_random(out.guest.get(), kBytes, 21);
    out.guest.reset();
    return sent;
  });

  // What `head` reads at once is less than what it asks for; it never takes more than it copies.
  Digest received;
  for (size_t bytes : {1000u, 70'000u, 1'234'567u}) {
    Reader reader(dir.path("out"), dir.path("copy"), bytes);
    REQUIRE(reader.has_read());
    reader.kill();
    UniqueFd copy = open_end(dir.path("copy"), O_RDONLY);
    std::string text = testing::read_some(copy.get(), bytes);
    REQUIRE(text.size() == bytes);
    received.add(text);
    CHECK_FALSE(sandbox.is_drained(*io));
  }
  UniqueFd last = open_end(dir.path("out"), O_RDONLY);
  std::string buffer(100'000, '\0');
  for (ssize_t count; (count = ::read(last.get(), buffer.data(), buffer.size())) > 0;)
    received.add(std::string_view(buffer).substr(0, static_cast<size_t>(count)));
  CHECK(received == writing.get());
  CHECK(sandbox.drains(*io));
}

TEST_CASE("what a process writes while nobody reads waits for the next client") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({"", dir.path("out"), dir.path("err")});
  StreamPair out, err;
  io->attach({UniqueFd(), std::move(out.host), std::move(err.host)});
  for (const char* words : {"first", "second", "third"}) {
    testing::write_all(out.guest.get(), words);
    testing::write_all(err.guest.get(), words);
    auto client_out = open_end(dir.path("out"), O_RDONLY);
    auto client_err = open_end(dir.path("err"), O_RDONLY);
    CHECK(testing::read_some(client_out.get(), std::strlen(words)) == words);
    CHECK(testing::read_some(client_err.get(), std::strlen(words)) == words);
  }
}

TEST_CASE("a client that types comes and goes") {
  FifoDir dir;
  testing::Sandbox sandbox;
  auto io = sandbox.open({dir.path("in"), "", ""});
  StreamPair in;
  io->attach({std::move(in.host), UniqueFd(), UniqueFd()});
  for (const char* words : {"first", "second", "third"}) {
    auto client = open_end(dir.path("in"), O_WRONLY);
    testing::write_all(client.get(), words);
    client.reset();
    CHECK(testing::read_some(in.guest.get(), std::strlen(words)) == words);
  }
  io->close_stdin();
  CHECK(testing::read_some(in.guest.get(), 1).empty());
}

}  // namespace
}  // namespace kata::io
