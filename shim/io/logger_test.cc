// binary:// outputs: shell scripts are the loggers.
#include "shim/io/logger.h"

#include <fstream>

#include <sys/wait.h>

#include "shim/io/process_stdio.h"
#include "shim/io/test_support.h"

namespace kata::io {
namespace {

using testing::FifoDir;
using testing::StreamPair;

constexpr std::chrono::milliseconds kShort{50};

std::string percent_encoded(const std::string& text) {
  std::string encoded;
  for (unsigned char c : text) encoded += fmt::format("%{:02x}", c);
  return encoded;
}

std::string uri_of(const std::string& script, const std::string& more = "",
                   const std::string& scheme = "binary") {
  return scheme + ":///bin/sh?-c=" + percent_encoded(script) + more;
}

/// Zombies too; reaps none.
bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

struct LoggerFixture {
  ~LoggerFixture() { CHECK_FALSE(has_children()); }

  std::string content_of(const char* name) {
    std::ifstream file(dir.path(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// Where scripts leave their files.
  std::string to(const char* name) { return " > " + dir.path(name); }

  void attach(const StdioConfig& config) {
    auto started = sandbox.start(config);
    if (!started) FAIL(started.error().message());
    attach(*std::move(started));
  }
  void attach(std::unique_ptr<sandbox::ProcessIo> started) {
    io = std::move(started);
    io->attach({UniqueFd(), std::move(out.host), std::move(err.host)});
  }
  void attach_logger(const std::string& script, std::chrono::milliseconds end_limit) {
    auto sinks = sandbox.run(start(script, std::chrono::seconds(60), end_limit));
    if (!sinks) FAIL(sinks.error().message());
    ClientEnds ends;
    ends.out = std::move(sinks->out);
    ends.err = std::move(sinks->err);
    attach(std::make_unique<ProcessStdio>(sandbox.executor(), "c1", std::move(ends)));
  }
  Async<LoggerSinks> start(const std::string& script, std::chrono::milliseconds ready_limit,
                           std::chrono::milliseconds end_limit = kShort) {
    LoggerOptions options{
        .uri = parse_stdio_uri(uri_of(script)).value(), .container_id = "c1", .nspace = "n1"};
    options.ready_limit = ready_limit;
    options.end_limit = end_limit;
    return start_logger(sandbox.executor(), std::move(options));
  }
  void end_streams() {
    out.guest.reset();
    err.guest.reset();
  }
  Error refusal(const std::string& uri) {
    auto started = sandbox.start({"", uri, uri});
    REQUIRE_FALSE(started);
    CHECK_THAT(started.error().message(), Catch::Contains("stdout"));
    return started.error();
  }

  FifoDir dir;
  testing::Sandbox sandbox;
  StreamPair out, err;
  std::unique_ptr<sandbox::ProcessIo> io;
};

TEST_CASE_METHOD(LoggerFixture, "one logger takes both streams; drained is a complete log",
                 "[process]") {
  std::string script = "echo $CONTAINER_NAMESPACE/$CONTAINER_ID $0 \"$1\" $2" + to("who") +
                       "; echo . >> " + dir.path("count") + "; exec 5>&-; /bin/cat <&3" + to("o") +
                       "; /bin/cat <&4" + to("e");
  StdioConfig config{"", uri_of(script, "&key=a+b&key=ignored&flag"), ""};
  config.err = config.out;
  config.id = "c1";
  config.nspace = "n1";
  attach(config);
  testing::write_all(out.guest.get(), "to stdout");
  testing::write_all(err.guest.get(), "to stderr");
  end_streams();
  CHECK(sandbox.drains(*io));
  CHECK(content_of("who") == "n1/c1 key a b flag\n");
  CHECK(content_of("count") == ".\n");
  CHECK(content_of("o") == "to stdout");
  CHECK(content_of("e") == "to stderr");
}

TEST_CASE_METHOD(LoggerFixture, "an exec's logger is told the exec's id", "[process]") {
  StdioConfig config{"", uri_of("echo $CONTAINER_ID" + to("who") + "; echo >&5; /bin/cat <&3"), ""};
  config.id = "c1/e1";
  attach(config);
  end_streams();
  CHECK(sandbox.drains(*io));
  CHECK(content_of("who") == "e1\n");
}

TEST_CASE_METHOD(LoggerFixture, "two URIs are two loggers, and each has an empty other stream",
                 "[process]") {
  attach({"", uri_of("echo >&5; /bin/cat <&3 <&4" + to("o") + "; /bin/cat <&3" + to("o")),
          uri_of("echo >&5; /bin/cat <&3; /bin/cat <&4" + to("e"), "", "binary-v2")});
  testing::write_all(out.guest.get(), "to stdout");
  testing::write_all(err.guest.get(), "to stderr");
  end_streams();
  CHECK(sandbox.drains(*io));
  CHECK(content_of("o") == "to stdout");
  CHECK(content_of("e") == "to stderr");
}

TEST_CASE_METHOD(LoggerFixture, "a logger gets its three descriptors and no other", "[process]") {
  UniqueFd inheritable(::dup(STDOUT_FILENO));
  attach({"", uri_of("/bin/ls -l /proc/self/fd" + to("fds") + "; echo >&5; /bin/cat <&3"), ""});
  end_streams();
  CHECK(sandbox.drains(*io));
  std::string fds = content_of("fds");
  for (const char* fd : {" 3 -> pipe:", " 4 -> pipe:", " 5 -> pipe:"})
    CHECK_THAT(fds, Catch::Contains(fd));
  CHECK_THAT(fds, Catch::Contains(" 0 -> /dev/null"));
  // What `ls` has opened itself: the directory.
  CHECK_THAT(fds, Catch::Contains(" 6 -> /proc/"));
  CHECK_THAT(fds, !Catch::Contains(" 7 -> "));
}

TEST_CASE_METHOD(LoggerFixture, "a large output through a logger", "[process]") {
  attach({"", uri_of("echo >&5; /bin/cat <&3" + to("o")), ""});
  auto writing = std::async(std::launch::async, [&] {
    auto sent = testing::write_random(out.guest.get(), 16 * 1024 * 1024, 31);
    out.guest.reset();
    return sent;
  });
  CHECK(sandbox.drains(*io));
  UniqueFd log = testing::open_end(dir.path("o"), O_RDONLY);
  CHECK(testing::read_to_end(log.get()) == writing.get());
}

TEST_CASE_METHOD(LoggerFixture, "a logger that dies before it is ready says why", "[process]") {
  Error died = refusal(uri_of("echo no such volume >&2; exit 3"));
  CHECK(died.code() == Code::kFailedPrecondition);
  CHECK_THAT(died.message(), Catch::Contains("/bin/sh exited with status 3 before it was ready") &&
                                 Catch::Contains("no such volume"));
  CHECK_FALSE(has_children());
}

TEST_CASE_METHOD(LoggerFixture, "a logger that cannot be started", "[process]") {
  CHECK(refusal("binary:///none").code() == Code::kNotFound);
  CHECK(refusal("binary:///etc/passwd").code() == Code::kPermissionDenied);
}

TEST_CASE_METHOD(LoggerFixture, "the second version's logger owes a word", "[process]") {
  Error quiet = refusal(uri_of("exec 5>&-; exec /bin/sleep 1000", "", "binary-v2"));
  CHECK(quiet.code() == Code::kFailedPrecondition);
  CHECK_THAT(quiet.message(), Catch::Contains("descriptor 5"));
}

TEST_CASE_METHOD(LoggerFixture, "a logger that does not get ready is given up", "[process]") {
  auto late = sandbox.run(start("exec /bin/sleep 1000", kShort));
  REQUIRE_FALSE(late);
  CHECK(late.error().code() == Code::kDeadlineExceeded);
  CHECK_THAT(late.error().message(), Catch::Contains("not ready within 50 ms"));
}

TEST_CASE_METHOD(LoggerFixture, "a logger that outlives its streams is killed", "[process]") {
  attach_logger("echo >&5; exec /bin/sleep 1000", kShort);
  end_streams();
  CHECK(sandbox.drains(*io));
}

TEST_CASE_METHOD(LoggerFixture, "a logger that dies ends its streams", "[process]") {
  attach_logger("echo >&5; exit 1", kShort);
  auto write = [&] { return ::send(out.guest.get(), "x", 1, MSG_NOSIGNAL) == 1; };
  // Each write goes until the first of them has met the broken pipe.
  while (write()) testing::flush_copier();
  err.guest.reset();
  CHECK(sandbox.drains(*io));
  // Streams that broke do not wait for the logger: it is reaped a moment later.
  CHECK(sandbox.run_until([] { return !has_children(); }));
}

TEST_CASE_METHOD(LoggerFixture, "a logger that has stopped reading holds only its own stream",
                 "[process]") {
  attach_logger("echo >&5; /bin/cat <&4" + to("e") + "; exec /bin/sleep 1000", kShort);
  ::fcntl(out.guest.get(), F_SETFL, O_NONBLOCK);
  std::string block(64 * 1024, 'x');
  auto fill = [&] {
    bool any = false;
    while (::write(out.guest.get(), block.data(), block.size()) > 0) any = true;
    return any;
  };
  while (fill()) testing::flush_copier();

  auto writing = std::async(std::launch::async, [&] {
    auto sent = testing::write_random(err.guest.get(), 16 * 1024 * 1024, 32);
    err.guest.reset();
    return sent;
  });
  writing.wait();
  CHECK_FALSE(sandbox.is_drained(*io));
  io->cancel();
  CHECK(sandbox.run_until([] { return !has_children(); }));
}

}  // namespace
}  // namespace kata::io
