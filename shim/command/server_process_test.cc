#include "shim/command/server_process.h"

#include <cerrno>
#include <fstream>

#include <catch2/catch.hpp>
#include <signal.h>
#include <sys/wait.h>

#include "common/sys/unix_socket.h"
#include "shim/ttrpc/test_support.h"

namespace kata::command {
namespace {

struct ServerProcessFixture {
  ServerProcessFixture() : listener(sys::listen_unix(directory / "sock").value()) {}
  Result<pid_t> start(const std::string& script, std::vector<std::string> environment = {}) {
    ServerProcess process{.executable = "/bin/sh",
                          .arguments = {"-c", script},
                          .extra_environment = std::move(environment)};
    return start_server_process(process, listener);
  }
  std::string content_of(const char* name) {
    std::ifstream file(directory / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string out() const { return (directory / "out").native(); }

  testing::TemporaryDirectory directory;
  UniqueFd listener;
};

void end(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

TEST_CASE_METHOD(ServerProcessFixture, "a process that says it is ready is kept") {
  auto pid = start("printf '0 ' >&4; exec 4>&-; sleep 60");
  REQUIRE(pid);
  CHECK(kill(*pid, 0) == 0);
  CHECK(getpgid(*pid) == *pid);
  end(*pid);
}

TEST_CASE_METHOD(ServerProcessFixture, "it has the socket, the pipe and nothing else") {
  auto pid = start("ls -l /proc/self/fd > " + out() + "; printf '0 ' >&4");
  REQUIRE(pid);
  end(*pid);
  std::string fds = content_of("out");
  CHECK(fds.find("0 -> /dev/null") != std::string::npos);
  CHECK(fds.find("2 -> /dev/null") != std::string::npos);
  CHECK(fds.find("3 -> socket:") != std::string::npos);
  CHECK(fds.find("4 -> pipe:") != std::string::npos);
  CHECK(fds.find("5 -> pipe:") == std::string::npos);
  CHECK(fds.find("5 -> socket:") == std::string::npos);
}

TEST_CASE_METHOD(ServerProcessFixture, "what goes wrong in it arrives with its code") {
  auto failed = start("printf '3 bad key \"x\" in y' >&4");
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == Code::kInvalidArgument);
  CHECK(failed.error().message() == "bad key \"x\" in y");
  CHECK(waitpid(-1, nullptr, WNOHANG) == -1);
  CHECK(errno == ECHILD);
}

TEST_CASE_METHOD(ServerProcessFixture, "one that ends without a word is an error") {
  auto failed = start("exit 1");
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == Code::kInternal);
  CHECK(waitpid(-1, nullptr, WNOHANG) == -1);
}

TEST_CASE_METHOD(ServerProcessFixture, "an executable that does not exist") {
  auto failed = start_server_process(
      {.executable = "/nonexistent", .arguments = {}, .extra_environment = {}}, listener);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == Code::kNotFound);
}

TEST_CASE_METHOD(ServerProcessFixture, "extra environment replaces the inherited") {
  setenv("KATA_TEST_KEPT", "kept", 1);
  setenv("KATA_TEST_REPLACED", "old", 1);
  auto pid = start("echo $KATA_TEST_KEPT $KATA_TEST_REPLACED > " + out() + "; printf '0 ' >&4",
                   {"KATA_TEST_REPLACED=new"});
  REQUIRE(pid);
  end(*pid);
  CHECK(content_of("out") == "kept new\n");
}

}  // namespace
}  // namespace kata::command
